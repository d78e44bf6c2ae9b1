"""The tables of modalities, peers, and of searches in them."""

from typing import Final

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Table, Text, false

from osteon.index.tables import Bytewise, Moment, metadata


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


modalities: Final = Table(
    "modalities", metadata,
    Column("name", Bytewise, primary_key=True),
    Column("aet", Bytewise, nullable=False),
    _text("host"),
    Column("port", Integer, nullable=False),
    _text("manufacturer"),
    _text("permissions"),
    Column("allow_transcoding", Boolean, nullable=False),
    Column("tls", Boolean, nullable=False),
    _text("local_aet"),
    Column("timeout", Integer, nullable=False),
    _text("retrieve_method"),
    Index(None, "aet"),
)  # fmt: skip
"""`permissions`: words with blanks between them."""

peers: Final = Table(
    "peers", metadata,
    Column("name", Bytewise, primary_key=True),
    _text("url"), _text("username"), _text("password"), _text("headers"), _text("ca_file"),
    Column("timeout", Integer, nullable=False),
    Column("dicomweb", Boolean, nullable=False),
    Column("allow_delete", Boolean, nullable=False, server_default=false()),
)  # fmt: skip
"""`headers`: a JSON list of pairs."""

remote_queries: Final = Table(
    "remote_queries", metadata,
    Column("id", Bytewise, primary_key=True),
    Column("created", Moment, nullable=False, index=True),
    _text("modality"), _text("level"), _text("query"), _text("local_aet"),
    Column("timeout", Integer, nullable=False),
    Column("answers", Integer, nullable=False),
)  # fmt: skip
"""`query`: a JSON object."""

remote_answers: Final = Table(
    "remote_answers", metadata,
    Column("query", Bytewise, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("header", LargeBinary, nullable=False),
)  # fmt: skip
"""`header`: DICOM JSON."""
