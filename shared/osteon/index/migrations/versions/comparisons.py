"""Which conflicts were compared; studies and series whose UID another patient's images have too."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns and indexes, and mark the studies and series that are there."""
    op.add_column("conflicts", sa.Column("compared", MOMENT, nullable=True))
    for table, uid in (("studies", "study_instance_uid"), ("series", "series_instance_uid")):
        op.add_column(table, sa.Column("shared_uid", sa.Boolean, nullable=False, server_default=sa.false()))
        op.create_index(
            f"ix_{table}_shared_uid",
            table,
            [uid],
            postgresql_where=sa.text("shared_uid"),
            sqlite_where=sa.text("shared_uid = 1"),
        )
    op.execute(
        "UPDATE studies SET shared_uid = true WHERE EXISTS (SELECT 1 FROM studies AS other"
        " WHERE other.study_instance_uid = studies.study_instance_uid AND other.id < studies.id)"
    )
    op.execute(
        "UPDATE series SET shared_uid = true WHERE EXISTS (SELECT 1 FROM series AS other"
        " JOIN studies AS theirs ON theirs.id = other.study JOIN studies AS ours ON ours.id = series.study"
        " WHERE other.series_instance_uid = series.series_instance_uid AND other.id < series.id"
        " AND theirs.study_instance_uid = ours.study_instance_uid)"
    )
