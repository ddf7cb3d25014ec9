"""When a signing key became active: its age counts from there."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nullable and without a default: the release before goes on inserting keys without it.
    op.add_column("signing_keys", sa.Column("activated_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("signing_keys", "activated_at")
