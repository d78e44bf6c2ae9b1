"""The first schema: four levels, packs, names, changes, conflicts.

Frozen: it lists what the tables were then, and does not follow `osteon.index.tables`.
"""

import logging
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

log = logging.getLogger(__name__)

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)

# Text columns have a second one `…_key`.
PATIENT = ("patient_id", "patient_name", "patient_birth_date", "patient_sex", "issuer_of_patient_id")
STUDY = (
    "study_date", "study_time", "accession_number", "study_id", "study_description", "referring_physician_name",
    "name_of_physicians_reading_study", "requesting_physician", "institution_name",
    "requested_procedure_description", "patient_age", "timezone_offset_from_utc",
)  # fmt: skip
SERIES = (
    "modality", "series_date", "series_time", "series_description", "body_part_examined", "laterality",
    "protocol_name", "sequence_name", "manufacturer", "station_name", "operators_name", "performing_physician_name",
    "performed_procedure_step_start_date", "performed_procedure_step_start_time",
    "performed_procedure_step_description", "contrast_bolus_agent", "image_orientation_patient", "series_type",
    "acquisition_device_processing_description",
)  # fmt: skip
SERIES_NUMBERS = (
    "series_number", "cardiac_number_of_images", "images_in_acquisition", "number_of_temporal_positions",
    "number_of_slices", "number_of_time_slices",
)  # fmt: skip

LEVELS = (("patient", "patients"), ("study", "studies"), ("series", "series"))
TRIGRAMS = (
    ("patient_names", "key"), ("study_names", "key"), ("series_names", "key"),
    ("studies", "patient_id_key"), ("studies", "accession_number_key"), ("studies", "study_description_key"),
)  # fmt: skip


def upgrade() -> None:
    """Make every table and index."""
    _make_reference_tables()
    _make_levels()
    _make_instances()
    _make_names()
    _make_logs()
    if op.get_bind().dialect.name == "postgresql":
        _make_trigram_indexes()
    else:
        _make_full_text_tables()


def _column(name: str, kind: Any, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def _texts(names: tuple[str, ...]) -> list[sa.Column[Any]]:
    return [_column(column, BYTEWISE, null=True) for name in names for column in (name, f"{name}_key")]


def _totals(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, sa.BigInteger) for name in names]


def _table(name: str, *parts: Any, public: bool = False, **options: Any) -> None:
    """Make a table with a primary key `id` that counts up; `public`: and with a unique public identifier."""
    extra = (_column("public_id", sa.LargeBinary), _unique(name, "public_id")) if public else ()
    key = (sa.Column("id", ID, nullable=False), sa.PrimaryKeyConstraint("id", name=f"pk_{name}"))
    op.create_table(name, *key, *extra, *parts, **options)


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=f"uq_{table}_{'_'.join(columns)}")


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=f"fk_{table}_{column}")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _make_reference_tables() -> None:
    op.create_table(
        "uids", sa.Column("id", sa.Integer, nullable=False), _column("uid", BYTEWISE),
        sa.PrimaryKeyConstraint("id", name="pk_uids"), _unique("uids", "uid"),
    )  # fmt: skip
    _table(
        "packs", _column("received", MOMENT), _column("size", sa.BigInteger),
        *(_column(name, sa.Integer) for name in ("instances", "stored", "duplicates", "conflicts")),
        *(_column(name, BYTEWISE) for name in ("pack_id", "study_uid", "series_uid")),
        *(_column(name, sa.Text) for name in ("origin", "calling_aet", "remote_host")),
        _unique("packs", "pack_id"),
    )  # fmt: skip


def _make_levels() -> None:
    _table(
        "patients", *_totals("studies", "series", "instances", "size"), _column("updated", MOMENT),
        *_texts(PATIENT), public=True,
    )  # fmt: skip
    _index("patients", "patient_id_key")
    _table(
        "studies", _column("patient", ID), *_totals("series", "instances", "size"), _column("updated", MOMENT),
        _column("study_instance_uid", BYTEWISE), *_texts(PATIENT + STUDY), _refers("studies", "patient", "patients"),
        public=True,
    )  # fmt: skip
    for column in ("patient", "study_instance_uid", "accession_number_key", "patient_id_key", "patient_birth_date_key"):
        _index("studies", column)
    _index("studies", "study_date_key", "study_time_key")
    _table(
        "series", _column("study", ID), *_totals("instances", "size"), _column("updated", MOMENT),
        _column("series_instance_uid", BYTEWISE), *_texts(SERIES),
        *(_column(name, sa.BigInteger, null=True) for name in SERIES_NUMBERS), _refers("series", "study", "studies"),
        public=True,
    )  # fmt: skip
    for columns in (("study",), ("series_instance_uid",), ("modality_key", "study")):
        _index("series", *columns)


def _make_instances() -> None:
    _table(
        "instances", _column("series", ID), _column("pack", ID), *_totals("byte_offset", "byte_length"),
        *(_column(name, sa.BigInteger, null=True) for name in ("instance_number", "number_of_frames")),
        *(_column(name, sa.Integer, null=True) for name in ("rows", "columns", "bits_allocated")),
        _column("sop_class", sa.Integer), _column("transfer_syntax", sa.Integer),
        _column("public_id", sa.LargeBinary), _column("sha256", sa.LargeBinary), _column("sop_instance_uid", BYTEWISE),
        _refers("instances", "series", "series"), _refers("instances", "pack", "packs"),
        _unique("instances", "public_id"), _unique("instances", "sop_instance_uid"),
    )  # fmt: skip
    _index("instances", "series")
    _index("instances", "pack")
    op.create_table(
        "study_sop_classes", _column("study", ID), _column("sop_class", sa.Integer),
        sa.PrimaryKeyConstraint("study", "sop_class", name="pk_study_sop_classes"),
        _refers("study_sop_classes", "study", "studies"),
    )  # fmt: skip
    _index("study_sop_classes", "sop_class", "study")
    keys = ("scheduled_procedure_step_id", "requested_procedure_id")
    both = (f"{key}{end}" for key in keys for end in ("", "_key"))
    _table(
        "series_requests", _column("series", ID), *(_column(name, BYTEWISE) for name in both),
        _refers("series_requests", "series", "series"),
    )  # fmt: skip
    for column in ("series", *(f"{key}_key" for key in keys)):
        _index("series_requests", column)


def _make_names() -> None:
    for level, owner in LEVELS:
        table = f"{level}_names"
        _table(
            table, _column("owner", ID), _column("keyword", BYTEWISE), _column("key", BYTEWISE),
            _refers(table, "owner", owner),
        )  # fmt: skip
        _index(table, "owner")
        _index(table, "keyword", "key")
        table = f"{level}_words"
        _table(
            table, _column("owner", ID), _column("keyword", BYTEWISE), _column("word", BYTEWISE),
            _column("sound", BYTEWISE, null=True), _refers(table, "owner", owner),
        )  # fmt: skip
        for columns in (("owner",), ("keyword", "word"), ("keyword", "sound")):
            _index(table, *columns)


def _make_logs() -> None:
    op.create_table(
        "pack_duplicates", _column("pack", ID), _column("instance", ID), _column("conflict", sa.Boolean),
        sa.PrimaryKeyConstraint("pack", "instance", name="pk_pack_duplicates"),
        _refers("pack_duplicates", "pack", "packs"), _refers("pack_duplicates", "instance", "instances"),
    )  # fmt: skip
    _index("pack_duplicates", "instance")
    _table(
        "conflicts", _column("instance", ID), _column("pack", ID), *_totals("byte_offset", "byte_length"),
        _column("detected", MOMENT), _column("sop_class", sa.Integer), _column("transfer_syntax", sa.Integer),
        _column("public_id", sa.LargeBinary), _column("sha256", sa.LargeBinary),
        *(_column(name, sa.Text) for name in ("patient_id", "study_uid", "series_uid")),
        _refers("conflicts", "instance", "instances"), _refers("conflicts", "pack", "packs"),
        _unique("conflicts", "instance", "sha256"),
    )  # fmt: skip
    _index("conflicts", "pack")
    op.create_table(
        "changes", sa.Column("seq", ID, primary_key=True, nullable=False), _column("date", MOMENT),
        _column("type", sa.SmallInteger), _column("level", sa.SmallInteger), _column("public_id", sa.LargeBinary),
        sqlite_autoincrement=True,
    )  # fmt: skip
    above = sa.text("level < 3")
    op.create_index("ix_changes_above_instances", "changes", ["seq"], postgresql_where=above, sqlite_where=above)
    names = ("patients", "studies", "series", "instances", "packs", "conflicts", "size")
    op.create_table(
        "totals", sa.Column("id", sa.SmallInteger, nullable=False, autoincrement=False), *_totals(*names),
        sa.PrimaryKeyConstraint("id", name="pk_totals"),
    )  # fmt: skip
    op.execute("INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0, 0, 0)")


def _make_trigram_indexes() -> None:
    """Index what is searched by its middle. Without the right to have pg_trgm such searches scan, but work."""
    try:
        with op.get_bind().begin_nested():
            op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DBAPIError as error:
        log.warning("pg_trgm is not available, *x* searches will be slow: %s", str(error.orig).strip())
        return
    for table, column in TRIGRAMS:
        op.execute(
            f"CREATE INDEX ix_{table}_{column}_trigrams ON {table} USING gin ({column} gin_trgm_ops)"
            # Entries that wait to be merged would have to be read one by one by every search.
            " WITH (fastupdate = off)"
        )


def _make_full_text_tables() -> None:
    """Keep a trigram index beside each table of names; it holds no text of its own."""
    for level, _ in LEVELS:
        names = f"{level}_names"
        fts = f"{names}_fts"
        op.execute(
            f"CREATE VIRTUAL TABLE {fts} USING fts5(key, content='{names}', content_rowid='id', tokenize='trigram')"
        )
        remove = f"INSERT INTO {fts}({fts}, rowid, key) VALUES ('delete', old.id, old.key)"  # noqa: S608 - own names
        add = f"INSERT INTO {fts}(rowid, key) VALUES (new.id, new.key)"  # noqa: S608 - own names
        op.execute(f"CREATE TRIGGER {names}_added AFTER INSERT ON {names} BEGIN {add}; END")
        op.execute(f"CREATE TRIGGER {names}_removed AFTER DELETE ON {names} BEGIN {remove}; END")
        op.execute(f"CREATE TRIGGER {names}_changed AFTER UPDATE ON {names} BEGIN {remove}; {add}; END")
