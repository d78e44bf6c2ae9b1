"""The tables of routing: rules, destinations that fail, resources that grow, positions in the change log."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, SmallInteger, Table, Text

from osteon.index.tables import Bytewise, Moment, metadata

rules: Final = Table(
    "rules", metadata,
    Column("name", Bytewise, primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("body", Text, nullable=False),
)  # fmt: skip
"""`body`: a JSON object."""

circuits: Final = Table(
    "circuits", metadata,
    Column("destination", Bytewise, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("retry", Moment),
    Column("probing", Moment),
)  # fmt: skip
"""Destinations that have failed since their last success."""

growing: Final = Table(
    "growing", metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("public_id", LargeBinary, primary_key=True),
    Column("updated", Moment, nullable=False, index=True),
)  # fmt: skip
"""Patients, studies and series that are not stable yet, and when the last instance was indexed. A table of its own: an
indexed column of theirs would let PostgreSQL write all their index entries again with each instance."""

followers: Final = Table(
    "followers", metadata,
    Column("name", Bytewise, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)  # fmt: skip
"""Up to which entry each reader has handled the change log."""
