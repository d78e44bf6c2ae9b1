"""The tables. Those of the four levels have a column for each attribute of `osteon.dicom.attributes.HELD`.

An instance's row is kept narrow for a billion of them: no text but the UID; the rest is with its series and pack.
Levels are `Level.depth`; public identifiers are the 20 bytes of the SHA-1 that Orthanc's identifiers spell.
"""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeEngine

from osteon.dicom.models import Level
from osteon.index.fields import LEVEL_FIELDS, SMALL, STUDY_ROW_FIELDS, Field, FieldKind

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

Id: Final[TypeEngine[int]] = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts rows up in columns of the type INTEGER only; they have 64 bits there."""

Bytewise: Final[TypeEngine[str]] = Text().with_variant(Text(collation="C"), "postgresql")
"""Text in the order of its code points, so that a B-tree finds beginnings whatever the database's locale."""


class Moment(TypeDecorator[datetime]):
    """An aware datetime; SQLite stores it as UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC for SQLite, which knows no time zones."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC, whatever the time zone of the session."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True)


def _public() -> Column[bytes]:
    return Column("public_id", LargeBinary, nullable=False, unique=True)


def _parent(name: str, target: str, *, index: bool = True) -> Column[int]:
    return Column(name, Id, ForeignKey(f"{target}.id"), nullable=False, index=index)


def _total(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, default=0)


def _attributes(fields: tuple[Field, ...], *, required: str = "") -> list[Column[Any]]:
    columns: list[Column[Any]] = []
    for field in fields:
        if field.kind is FieldKind.NUMBER:
            columns.append(Column(field.column, BigInteger))
        else:
            columns.append(Column(field.column, Bytewise, nullable=field.keyword != required))
        columns += [Column(name, Bytewise) for name in (field.key, field.text) if name]
    return columns


def _shared_uid(table: str, uid: str) -> tuple[Column[bool], Index]:
    """Mark rows whose UID an earlier row of another patient has too: one study or series to DICOM, two to Orthanc."""
    where = text("shared_uid"), text("shared_uid = 1")
    return (
        Column("shared_uid", Boolean, nullable=False, server_default=false(), default=False),
        Index(f"ix_{table}_shared_uid", uid, postgresql_where=where[0], sqlite_where=where[1]),
    )


SORTED_COLUMNS: Final = (
    "patient_name", "patient_sex", "study_id", "study_description", "referring_physician_name", "institution_name",
)  # fmt: skip
"""Columns of a study that lists are sorted by. Others, whose values few studies share, have an index anyway."""

uids = Table(
    "uids", metadata, Column("id", Integer, primary_key=True), Column("uid", Bytewise, nullable=False, unique=True)
)
"""SOP classes and transfer syntaxes. Rows are never changed or removed, so what refers to them needs no constraint."""

packs = Table(
    "packs", metadata, _id(),
    Column("received", Moment, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("stored", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("conflicts", Integer, nullable=False),
    Column("pack_id", Bytewise, nullable=False, unique=True),
    Column("study_uid", Bytewise, nullable=False),
    Column("series_uid", Bytewise, nullable=False),
    Column("origin", Text, nullable=False),
    Column("calling_aet", Text, nullable=False),
    Column("remote_host", Text, nullable=False),
    Column("sidecar_offset", BigInteger),
    Column("reconciled_by", Text),
)  # fmt: skip
"""Every pack that was indexed, with its outcome; redundant ones too. Without `sidecar_offset` its sidecar is an object
of its own."""

patients = Table(
    "patients", metadata, _id(),
    _total("studies"), _total("series"), _total("instances"), _total("size"),
    Column("updated", Moment, nullable=False),
    _public(),
    *_attributes(LEVEL_FIELDS[Level.PATIENT]),
    Index(None, "patient_id_key"),
)  # fmt: skip

studies = Table(
    "studies", metadata, _id(), _parent("patient", "patients"),
    _total("series"), _total("instances"), _total("size"),
    Column("updated", Moment, nullable=False),
    _public(),
    *_attributes(STUDY_ROW_FIELDS, required="StudyInstanceUID"),
    *_shared_uid("studies", "study_instance_uid"),
    Index(None, "study_instance_uid"), Index(None, "study_date_key", "study_time_key"),
    Index(None, "accession_number_key"), Index(None, "patient_id_key"), Index(None, "patient_birth_date_key"),
    *(Index(None, f"{column}_key", "id") for column in SORTED_COLUMNS),
)  # fmt: skip

study_updates = Table(
    "study_updates", metadata,
    Column("study", Id, primary_key=True, autoincrement=False),
    Column("updated", Moment, nullable=False),
    Index(None, "updated", "study"),
)  # fmt: skip
"""What `studies.updated` is, kept by triggers: an index on that column would let PostgreSQL write all index entries of
a study again with each instance."""

series = Table(
    "series", metadata, _id(), _parent("study", "studies"),
    _total("instances"), _total("size"),
    Column("updated", Moment, nullable=False),
    _public(),
    *_attributes(LEVEL_FIELDS[Level.SERIES], required="SeriesInstanceUID"),
    *_shared_uid("series", "series_instance_uid"),
    Index(None, "series_instance_uid"), Index(None, "modality_key", "study"),
)  # fmt: skip

_NUMBERS: Final = tuple(field for field in LEVEL_FIELDS[Level.IMAGE] if field.kind is FieldKind.NUMBER)

instances = Table(
    "instances", metadata, _id(), _parent("series", "series"), _parent("pack", "packs"),
    Column("byte_offset", BigInteger, nullable=False),
    Column("byte_length", BigInteger, nullable=False),
    *(Column(f.column, BigInteger) for f in _NUMBERS if f.keyword not in SMALL),
    *(Column(f.column, Integer) for f in _NUMBERS if f.keyword in SMALL),
    Column("sop_class", Integer, nullable=False),
    Column("transfer_syntax", Integer, nullable=False),
    _public(),
    Column("sha256", LargeBinary, nullable=False),
    Column("sop_instance_uid", Bytewise, nullable=False, unique=True),
    Column("xxh3", LargeBinary),
    *(Column(f.text, Bytewise) for f in _NUMBERS if f.text),
)  # fmt: skip
"""Wide columns first: PostgreSQL then needs no padding between them. The texts of numbers are NULL but for a few."""

split_series = Table("split_series", metadata, Column("series_instance_uid", Bytewise, primary_key=True))
"""Series Instance UIDs that were found in several studies; they may not be any more."""

study_sop_classes = Table(
    "study_sop_classes", metadata,
    Column("study", Id, ForeignKey("studies.id"), primary_key=True, autoincrement=False),
    Column("sop_class", Integer, primary_key=True, autoincrement=False),
    Index(None, "sop_class", "study"),
)  # fmt: skip

series_requests = Table(
    "series_requests", metadata, _id(), _parent("series", "series"),
    Column("scheduled_procedure_step_id", Bytewise, nullable=False),
    Column("scheduled_procedure_step_id_key", Bytewise, nullable=False, index=True),
    Column("requested_procedure_id", Bytewise, nullable=False),
    Column("requested_procedure_id_key", Bytewise, nullable=False, index=True),
)  # fmt: skip
"""Items of Request Attributes Sequence (0040,0275); empty text for what an item does not have."""


def _names(owner: str, target: str) -> tuple[Table, Table]:
    keys = Table(
        f"{owner}_names", metadata, _id(), _parent("owner", target),
        Column("keyword", Bytewise, nullable=False), Column("key", Bytewise, nullable=False),
        Index(None, "keyword", "key"),
    )  # fmt: skip
    words = Table(
        f"{owner}_words", metadata, _id(), _parent("owner", target),
        Column("keyword", Bytewise, nullable=False), Column("word", Bytewise, nullable=False),
        Column("sound", Bytewise),
        Index(None, "keyword", "word"), Index(None, "keyword", "sound"),
    )  # fmt: skip
    return keys, words


NAMES: Final[dict[Level, tuple[Table, Table]]] = {
    Level.PATIENT: _names("patient", "patients"),
    Level.STUDY: _names("study", "studies"),
    Level.SERIES: _names("series", "series"),
}
"""Level → (a row for each group of each person name, a row for each word of them)."""

pack_duplicates = Table(
    "pack_duplicates", metadata,
    Column("pack", Id, ForeignKey("packs.id"), primary_key=True, autoincrement=False),
    Column("instance", Id, ForeignKey("instances.id"), primary_key=True, autoincrement=False),
    Column("conflict", Boolean, nullable=False),
    Index(None, "instance"),
)  # fmt: skip
"""Members of packs that are not served from there: duplicates and conflicts."""

conflicts = Table(
    "conflicts", metadata, _id(), _parent("instance", "instances", index=False), _parent("pack", "packs"),
    Column("byte_offset", BigInteger, nullable=False),
    Column("byte_length", BigInteger, nullable=False),
    Column("detected", Moment, nullable=False),
    Column("sop_class", Integer, nullable=False),
    Column("transfer_syntax", Integer, nullable=False),
    Column("public_id", LargeBinary, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("study_uid", Text, nullable=False),
    Column("series_uid", Text, nullable=False),
    Column("resolved", Moment),
    Column("compared", Moment),
    Column("xxh3", LargeBinary),
    UniqueConstraint("instance", "sha256"),
)  # fmt: skip
"""Bytes kept aside because their UID is known with others: `instance` is the one served. `resolved` by a decision;
`compared` when it was found that they do not say the same."""

decisions = Table(
    "decisions", metadata,
    Column("decision_id", Bytewise, primary_key=True),
    Column("sop_instance_uid", Bytewise, nullable=False, index=True),
    Column("kept", LargeBinary, nullable=False),
    Column("other", LargeBinary, nullable=False),
    Column("decided", Moment, nullable=False),
)  # fmt: skip
"""Copies of `osteon.contracts.conflicts.ConflictDecided`; the last one on an instance holds."""

changes = Table(
    "changes", metadata,
    Column("seq", Id, primary_key=True),
    Column("date", Moment, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("level", SmallInteger, nullable=False),
    Column("public_id", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)  # fmt: skip
"""The change log. It names resources by their public identifier, so that deleted ones are still named."""
Index(
    "ix_changes_above_instances", changes.c.seq, postgresql_where=changes.c.level < 3, sqlite_where=changes.c.level < 3
)

totals = Table(
    "totals", metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    *(_total(name) for name in ("patients", "studies", "series", "instances", "packs", "conflicts", "size")),
)  # fmt: skip
"""One row, changed by each writer under the lock of the change log: totals without counting."""

TABLE_OF: Final[dict[Level, Table]] = {
    Level.PATIENT: patients,
    Level.STUDY: studies,
    Level.SERIES: series,
    Level.IMAGE: instances,
}
PARENT_OF: Final[dict[Level, str]] = {Level.STUDY: "patient", Level.SERIES: "study", Level.IMAGE: "series"}
"""Level → column that refers to the row one level up."""
