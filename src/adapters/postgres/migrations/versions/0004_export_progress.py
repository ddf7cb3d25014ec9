"""How far an export is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # With a default: the release before goes on inserting exports without it.
    op.add_column(
        "exports", sa.Column("progress", sa.SmallInteger, nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("exports", "progress")
