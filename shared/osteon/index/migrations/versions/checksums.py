"""A fast checksum of each instance's file; empty for those that were indexed without."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns."""
    for table in ("instances", "conflicts"):
        op.add_column(table, sa.Column("xxh3", sa.LargeBinary, nullable=True))
