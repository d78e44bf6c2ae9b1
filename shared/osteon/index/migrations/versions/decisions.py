"""Decisions on conflicts; redundant packs are no longer counted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add a table, a column, and count the packs again."""
    op.create_table(
        "decisions",
        sa.Column("decision_id", BYTEWISE, nullable=False),
        sa.Column("sop_instance_uid", BYTEWISE, nullable=False),
        sa.Column("kept", sa.LargeBinary, nullable=False),
        sa.Column("other", sa.LargeBinary, nullable=False),
        sa.Column("decided", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_sop_instance_uid", "decisions", ["sop_instance_uid"])
    op.add_column("conflicts", sa.Column("resolved", MOMENT, nullable=True))
    op.execute("UPDATE totals SET packs = (SELECT count(*) FROM packs WHERE stored > 0 OR conflicts > 0)")
