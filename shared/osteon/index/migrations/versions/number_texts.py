"""The text of numbers whose text is not the number in decimal notation."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COLUMNS = {
    "series": ("series_number", "cardiac_number_of_images", "images_in_acquisition", "number_of_temporal_positions"),
    "instances": ("instance_number", "number_of_frames"),
}


def upgrade() -> None:
    """Add columns."""
    for table, names in COLUMNS.items():
        for name in names:
            op.add_column(table, sa.Column(f"{name}_text", BYTEWISE, nullable=True))
