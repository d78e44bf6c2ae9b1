"""The tables of user data. Rows name resources by their public identifier: they may come before the resource does."""

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, SmallInteger, Table, Text

from osteon.index.tables import Bytewise, metadata


def _resource() -> tuple[Column[Any], Column[Any]]:
    return (
        Column("level", SmallInteger, primary_key=True, autoincrement=False),
        Column("public_id", LargeBinary, primary_key=True),
    )


user_data: Final = Table(
    "user_data", metadata, *_resource(),
    Column("revision", BigInteger, nullable=False),
    Column("record", Bytewise, nullable=False, unique=True),
    Column("protected", Boolean, nullable=False),
)  # fmt: skip
"""A row for each resource that ever had user data; `record` is the object key of the last change."""

labels: Final = Table(
    "labels", metadata, *_resource(),
    Column("label", Bytewise, primary_key=True),
    Index(None, "label", "level", "public_id"),
)  # fmt: skip

resource_metadata: Final = Table(
    "resource_metadata", metadata, *_resource(),
    Column("code", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("value", Text, nullable=False),
    Column("key", Bytewise, nullable=False),
    Index(None, "code", "level", "key"),
)  # fmt: skip
"""`key`: what the value is searched by, its beginning without regard to case."""

attachments: Final = Table(
    "attachments", metadata, *_resource(),
    Column("code", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stored_size", BigInteger, nullable=False),
    Column("compressed", Boolean, nullable=False),
    Column("md5", Text, nullable=False),
    Column("stored_md5", Text, nullable=False),
    Column("key", Bytewise, nullable=False, unique=True),
)  # fmt: skip
"""Files in the object store, under `key`."""
