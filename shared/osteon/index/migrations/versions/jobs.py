"""Jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "jobs",
        sa.Column("id", BYTEWISE, nullable=False),
        sa.Column("key", BYTEWISE),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("type", "state", "params", "content", "checkpoint")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("priority", "progress", "attempts", "faults")),
        *(sa.Column(name, MOMENT, nullable=False) for name in ("created", "due", "since")),
        *(sa.Column(name, MOMENT) for name in ("completed", "claimable", "renewed")),
        sa.Column("runtime", sa.Float, nullable=False),
        sa.Column("error_code", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("command", sa.Text),
        sa.Column("worker", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("key", name="uq_jobs_key"),
    )
    for name in ("created", "claimable", "completed"):
        op.create_index(f"ix_jobs_{name}", "jobs", [name])
