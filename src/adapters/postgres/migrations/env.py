"""Alembic's entry. Run by path, so it imports nothing of ours: what it needs is handed in."""

from alembic import context

attributes = context.config.attributes

context.configure(
    connection=attributes["connection"],
    target_metadata=attributes["metadata"],
    include_name=attributes["include_name"],
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
