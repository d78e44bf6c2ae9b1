"""Reconciliations, and identifiers that resources had before."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add two tables, and how packs were made."""
    op.add_column("packs", sa.Column("reconciled_by", sa.Text))
    op.create_table(
        "reconciliations",
        sa.Column("reconciliation_id", BYTEWISE, nullable=False),
        sa.Column("study_uid", BYTEWISE, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("reconciliation_id", name="pk_reconciliations"),
    )
    op.create_index("ix_reconciliations_study_uid", "reconciliations", ["study_uid"])
    op.create_table(
        "former_ids",
        sa.Column("public_id", sa.LargeBinary, nullable=False),
        sa.Column("level", sa.SmallInteger, nullable=False),
        sa.Column("sop_instance_uid", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("public_id", name="pk_former_ids"),
    )
