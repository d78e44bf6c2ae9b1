"""Modalities, peers, and searches in them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add four tables."""
    op.create_table(
        "modalities",
        _column("name", BYTEWISE), _column("aet", BYTEWISE), _column("host", sa.Text), _column("port", sa.Integer),
        _column("manufacturer", sa.Text), _column("permissions", sa.Text), _column("allow_transcoding", sa.Boolean),
        _column("tls", sa.Boolean), _column("local_aet", sa.Text), _column("timeout", sa.Integer),
        _column("retrieve_method", sa.Text), sa.PrimaryKeyConstraint("name", name="pk_modalities"),
    )  # fmt: skip
    op.create_index("ix_modalities_aet", "modalities", ["aet"])
    op.create_table(
        "peers",
        _column("name", BYTEWISE),
        *(_column(name, sa.Text) for name in ("url", "username", "password", "headers", "ca_file")),
        _column("timeout", sa.Integer), _column("dicomweb", sa.Boolean),
        sa.PrimaryKeyConstraint("name", name="pk_peers"),
    )  # fmt: skip
    op.create_table(
        "remote_queries",
        _column("id", BYTEWISE), _column("created", MOMENT),
        *(_column(name, sa.Text) for name in ("modality", "level", "query", "local_aet")),
        _column("timeout", sa.Integer), _column("answers", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_remote_queries"),
    )  # fmt: skip
    op.create_index("ix_remote_queries_created", "remote_queries", ["created"])
    op.create_table(
        "remote_answers",
        _column("query", BYTEWISE), sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        _column("header", sa.LargeBinary), sa.PrimaryKeyConstraint("query", "number", name="pk_remote_answers"),
    )  # fmt: skip


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)
