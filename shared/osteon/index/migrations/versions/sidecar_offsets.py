"""Where the sidecar of a pack begins in its object; empty for packs whose sidecar is an object of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column."""
    op.add_column("packs", sa.Column("sidecar_offset", sa.BigInteger, nullable=True))
