"""Whether a DICOMweb server may be asked to delete."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column: none may."""
    op.add_column("peers", sa.Column("allow_delete", sa.Boolean, nullable=False, server_default=sa.false()))
