"""Routing rules, circuits of destinations, and what still grows."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add four tables. What is there already is stable, and was."""
    op.create_table(
        "rules",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_rules"),
    )
    op.create_table(
        "circuits",
        sa.Column("destination", BYTEWISE, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("retry", MOMENT),
        sa.Column("probing", MOMENT),
        sa.PrimaryKeyConstraint("destination", name="pk_circuits"),
    )
    op.create_table(
        "growing",
        sa.Column("level", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("public_id", sa.LargeBinary, nullable=False),
        sa.Column("updated", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("level", "public_id", name="pk_growing"),
    )
    op.create_index("ix_growing_updated", "growing", ["updated"])
    op.create_table(
        "followers",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_followers"),
    )
    op.execute("INSERT INTO followers (name, seq) SELECT 'router', coalesce(max(seq), 0) FROM changes")
