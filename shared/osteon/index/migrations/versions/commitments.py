"""Transactions of storage commitment."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "commitments",
        sa.Column("id", BYTEWISE, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("transaction_uid", BYTEWISE, nullable=False),
        sa.Column("remote_aet", BYTEWISE, nullable=False),
        sa.Column("local_aet", sa.Text, nullable=False),
        sa.Column("remote", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("items", sa.LargeBinary, nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("failures", sa.LargeBinary),
        sa.Column("reported", MOMENT),
        sa.Column("watched", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_commitments"),
        sa.UniqueConstraint(
            "transaction_uid", "remote_aet", "role", "digest",
            name="uq_commitments_transaction_uid_remote_aet_role_digest",
        ),
    )  # fmt: skip
    op.create_index("ix_commitments_created", "commitments", ["created"])
