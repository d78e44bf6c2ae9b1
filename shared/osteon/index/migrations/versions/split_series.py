"""Series Instance UIDs that are in several studies."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table, with those that are there already: reads all series once."""
    op.create_table(
        "split_series",
        sa.Column("series_instance_uid", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("series_instance_uid", name="pk_split_series"),
    )
    op.execute(
        "INSERT INTO split_series (series_instance_uid)"
        " SELECT series.series_instance_uid FROM series JOIN studies ON series.study = studies.id"
        " GROUP BY series.series_instance_uid HAVING count(DISTINCT studies.study_instance_uid) > 1"
    )
