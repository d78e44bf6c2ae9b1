"""Labels, metadata, attachments and protection of resources."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add four tables."""
    op.create_table(
        "user_data",
        sa.Column("level", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("public_id", sa.LargeBinary, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("record", BYTEWISE, nullable=False),
        sa.Column("protected", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("level", "public_id", name="pk_user_data"),
        sa.UniqueConstraint("record", name="uq_user_data_record"),
    )
    op.create_table(
        "labels",
        sa.Column("level", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("public_id", sa.LargeBinary, nullable=False),
        sa.Column("label", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("level", "public_id", "label", name="pk_labels"),
    )
    op.create_index("ix_labels_label_level_public_id", "labels", ["label", "level", "public_id"])
    op.create_table(
        "resource_metadata",
        sa.Column("level", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("public_id", sa.LargeBinary, nullable=False),
        sa.Column("code", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("key", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("level", "public_id", "code", name="pk_resource_metadata"),
    )
    op.create_index("ix_resource_metadata_code_level_key", "resource_metadata", ["code", "level", "key"])
    op.create_table(
        "attachments",
        sa.Column("level", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("public_id", sa.LargeBinary, nullable=False),
        sa.Column("code", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("stored_size", sa.BigInteger, nullable=False),
        sa.Column("compressed", sa.Boolean, nullable=False),
        sa.Column("md5", sa.Text, nullable=False),
        sa.Column("stored_md5", sa.Text, nullable=False),
        sa.Column("key", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("level", "public_id", "code", name="pk_attachments"),
        sa.UniqueConstraint("key", name="uq_attachments_key"),
    )
