"""An archive of invented patients, of any size: the same studies from Python, a pack at a time, and from PostgreSQL.

`one_pack` makes what the index's own code indexes. `fill` writes the rows that this code would have written, by a few
statements of SQL: ten million instances in minutes. Patients have two studies, studies two series, and what is
numbered counts from 0 in the order of arrival, in which dates rise.
"""

import hashlib
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, LiteralString, cast

import psycopg

from osteon.archive.pack_records import StoredPack
from osteon.index.name_keys import name_keys, sound, words
from osteon.index.values import text_key
from support.index.stored_packs import CT, EXPLICIT, MR, RECEIVED, SR, entry, pack

STUDIES_A_PATIENT: Final = 2
SERIES_A_STUDY: Final = 2
STUDIES_A_DAY: Final = 250
LENGTH: Final = 532_480
"""Bytes of an instance: a CT slice."""

FAMILY: Final = ("Müller", "Meyer", "Nguyen", "Kowalski", "Papadopoulos", "Yamada", "Silva", "O'Brien")
GIVEN: Final = ("Anna", "Jörg", "Minh", "Zofia", "Eleni", "Tarō", "João", "Seán")
MODALITIES: Final = ("CT", "MR", "CR", "US", "CT", "DX", "MR", "CR", "CT", "MG")
RARE: Final = "XA"
"""The modality of every thousandth study."""
DESCRIPTIONS: Final = tuple(f"{what} {how}" for what in ("Abdomen", "Brain", "Chest", "Knee", "Spine", "Pelvis", "Neck")
                            for how in ("routine", "with contrast", "follow-up"))  # fmt: skip
INSTITUTIONS: Final = ("General Hospital", "Lakeside Clinic", "Radiology North", "St. Mary's", "University Hospital")
PHYSICIANS: Final = tuple(f"{family}^{given}" for family in FAMILY for given in GIVEN)

_FIRST_DAY: Final = date(2015, 1, 1)
_FIRST_BIRTH: Final = date(1930, 1, 1)
_SOP_CLASSES: Final = (CT, MR, SR)
_CHANGES: Final = 100
"""Entries of the change log that a study has room for."""


def uid(kind: int, number: int) -> str:
    """Return the UID of a study (kind 1) or series (2), so long that `.200` behind it makes the usual 64 characters."""
    digits = hashlib.md5(f"{kind}.{number}".encode(), usedforsecurity=False).hexdigest()
    return f"1.2.826.0.1.3680043.8.498.{kind}{digits.translate(str.maketrans('abcdef', '012345'))}"


def day_of(study: int) -> str:
    """Return the Study Date."""
    return f"{_FIRST_DAY + timedelta(days=study // STUDIES_A_DAY):%Y%m%d}"


def name_of(patient: int) -> str:
    """Return a name that few patients share; every eighth begins with each of the families."""
    letters = str(patient // 1664).translate(str.maketrans("0123456789", "nrtsaeioul"))
    return f"{FAMILY[patient % 8]}{chr(97 + patient // 64 % 26)}{letters}^{GIVEN[patient // 8 % 8]}"


def modality_of(study: int) -> str:
    """Return the modality of a study's images."""
    return RARE if study % 1000 == 7 else MODALITIES[study % len(MODALITIES)]


def accession_of(study: int) -> str:
    """Return the Accession Number."""
    return f"ACC{study:08d}"


def _attributes(number: int) -> Mapping[str, str]:
    study = number // SERIES_A_STUDY
    patient, second = study // STUDIES_A_PATIENT, study * 7919 % 86400
    reports = bool(number % 2 and study % 2)
    return {
        "PatientName": name_of(patient), "PatientSex": "MFO"[patient % 3],
        "PatientBirthDate": f"{_FIRST_BIRTH + timedelta(days=patient * 31 % 30000):%Y%m%d}",
        "StudyDate": day_of(study), "StudyTime": f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}",
        "AccessionNumber": accession_of(study), "StudyID": str(study),
        "StudyDescription": DESCRIPTIONS[study % len(DESCRIPTIONS)],
        "ReferringPhysicianName": PHYSICIANS[study % len(PHYSICIANS)],
        "InstitutionName": INSTITUTIONS[study % len(INSTITUTIONS)],
        "Modality": "SR" if reports else modality_of(study), "SeriesNumber": str(number % SERIES_A_STUDY + 1),
        "SeriesDescription": "Axial 1.0 soft tissue", "Manufacturer": "ACME", "StationName": "Station 1",
    }  # fmt: skip


def one_pack(number: int, n: int) -> StoredPack:
    """Make the pack of a series of `n` instances."""
    study = number // SERIES_A_STUDY
    attributes, series = _attributes(number), uid(2, number)
    sop_class = _SOP_CLASSES[2 if attributes["Modality"] == "SR" else study % 2]
    members = (
        entry(
            f"PAT{study // STUDIES_A_PATIENT:07d}", uid(1, study), series, f"{series}.{i}", sop_class=sop_class,
            offset=512 + (LENGTH + 1024) * (i - 1), length=LENGTH, InstanceNumber=str(i), Rows="512", Columns="512",
            BitsAllocated="16", **attributes,
        )
        for i in range(1, n + 1)
    )  # fmt: skip
    return pack(*members, pack_id=f"b{number:012d}", received=received_at(study))


def received_at(study: int) -> datetime:
    """Return when a study was received."""
    return RECEIVED + timedelta(seconds=study)


# ---- The same in SQL: s is a study's number, p a patient's, r a series', i an instance's in its series.

_UID: Final = "'1.2.826.0.1.3680043.8.498.{0}' || translate(md5('{0}.' || {1}), 'abcdef', '012345')"
_STUDY_UID, _SERIES_UID = _UID.format(1, "s"), _UID.format(2, "r")
_PATIENT_ID: Final = "'PAT' || lpad(p::text, 7, '0')"
_TIME: Final = "to_char(make_interval(secs => s::bigint * 7919 % 86400), 'HH24MISS')"
_ARRIVED: Final = f"'{RECEIVED.isoformat()}'::timestamptz + make_interval(secs => s)"
_REPORTS: Final = "r % 2 = 1 AND s % 2 = 1"
_SOP_CLASS: Final = (
    f"(SELECT id FROM uids WHERE uid = CASE WHEN {_REPORTS} THEN '{SR}' WHEN s % 2 = 0 THEN '{CT}' ELSE '{MR}' END)"
)


def _sha1(*parts: str) -> str:
    return "digest(" + " || '|' || ".join(parts) + ", 'sha1')"


def _pick(values: tuple[str, ...], number: str) -> str:
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"(ARRAY[{quoted}])[1 + {number} % {len(values)}]"


def _text(column: str, expression: str, key: str = "") -> dict[str, str]:
    return {column: expression, f"{column}_key": key or f"lower({expression})"}


def _chosen(column: str, values: tuple[str, ...], number: str) -> dict[str, str]:
    key = tuple("\\".join(name_keys(value)) if "^" in value else text_key(value) for value in values)
    return _text(column, _pick(values, number), _pick(key, number))


def _patient_columns() -> dict[str, str]:
    born = f"to_char(DATE '{_FIRST_BIRTH}' + (p * 31 % 30000)::int, 'YYYYMMDD')"
    return {
        **_text("patient_id", _PATIENT_ID), **_text("patient_name", "people.name", "people.key"),
        **_text("patient_birth_date", born), **_chosen("patient_sex", ("M", "F", "O"), "p"),
    }  # fmt: skip


def _study_columns() -> dict[str, str]:
    day = f"to_char(DATE '{_FIRST_DAY}' + s / {STUDIES_A_DAY}, 'YYYYMMDD')"
    return {
        "id": "s + 1", "patient": "p + 1", "updated": _ARRIVED, "study_instance_uid": _STUDY_UID,
        "public_id": _sha1(_PATIENT_ID, _STUDY_UID), **_patient_columns(), **_text("study_date", day),
        **_text("study_time", _TIME, f"{_TIME} || '.000000'"), **_text("study_id", "s::text"),
        **_text("accession_number", "'ACC' || lpad(s::text, 8, '0')"),
        **_chosen("study_description", DESCRIPTIONS, "s"),
        **_chosen("referring_physician_name", PHYSICIANS, "s"), **_chosen("institution_name", INSTITUTIONS, "s"),
    }  # fmt: skip


def _series_columns() -> dict[str, str]:
    modality = f"CASE WHEN {_REPORTS} THEN 'SR' WHEN s % 1000 = 7 THEN '{RARE}' ELSE {_pick(MODALITIES, 's')} END"
    return {
        "id": "r + 1", "study": "s + 1", "updated": _ARRIVED, "series_instance_uid": _SERIES_UID,
        "public_id": _sha1(_PATIENT_ID, _STUDY_UID, _SERIES_UID), **_text("modality", modality),
        "series_number": "r % 2 + 1", **_text("series_description", "'Axial 1.0 soft tissue'"),
        **_text("manufacturer", "'ACME'"), **_text("station_name", "'Station 1'"),
    }  # fmt: skip


def _statements(n: int) -> list[tuple[str, Mapping[str, str], str]]:
    """Return (table, its columns, the source of its rows) for series of `n` instances; %(a)s and %(b)s are studies."""
    of_patients = "generate_series(%(a)s / 2, %(b)s / 2 - 1) AS p JOIN people USING (p)"
    of_studies = "(SELECT s, s / 2 AS p FROM generate_series(%(a)s, %(b)s - 1) AS s) AS numbers"
    of_series = "(SELECT r, r / 2 AS s, r / 4 AS p FROM generate_series(%(a)s * 2, %(b)s * 2 - 1) AS r) AS numbers"
    of_instances = f"{of_series}, generate_series(1, {n}) AS i"
    named = f"{of_studies} JOIN people USING (p)"
    physician = {"owner": "s + 1", "keyword": "'ReferringPhysicianName'"}
    owned = {"keyword": "'PatientName'"}
    sop_uid = f"{_SERIES_UID} || '.' || i"
    public = {0: "digest(" + _PATIENT_ID + ", 'sha1')", 1: _sha1(_PATIENT_ID, _STUDY_UID),
              2: _sha1(_PATIENT_ID, _STUDY_UID, _SERIES_UID),
              3: _sha1(_PATIENT_ID, _STUDY_UID, _SERIES_UID, sop_uid)}  # fmt: skip
    instances = {
        "id": f"r * {n}::bigint + i", "series": "r + 1", "pack": "r + 1",
        "byte_offset": f"512 + {LENGTH + 1024} * (i - 1)", "byte_length": str(LENGTH), "instance_number": "i",
        "rows": "512", "columns": "512", "bits_allocated": "16", "sop_class": _SOP_CLASS,
        "transfer_syntax": f"(SELECT id FROM uids WHERE uid = '{EXPLICIT}')", "public_id": public[3],
        "sha256": f"sha256(convert_to({sop_uid} || ' ', 'UTF8'))", "sop_instance_uid": sop_uid,
        "xxh3": f"substr(sha256(convert_to({sop_uid}, 'UTF8')), 1, 16)",
    }  # fmt: skip
    sums = {"instances": f"{2 * n}", "size": f"{2 * n * LENGTH}::bigint", "series": "2"}
    above = {"instances": f"{4 * n}", "size": f"{4 * n * LENGTH}::bigint", "series": "4", "studies": "2"}
    found = [
        ("patients", {"id": "p + 1", "public_id": public[0], "updated": _ARRIVED.replace("=> s", "=> p * 2 + 1"),
                      **above, **_patient_columns()}, of_patients),
        ("studies", sums | _study_columns(), named),
        ("series", {"instances": str(n), "size": f"{n * LENGTH}::bigint"} | _series_columns(), of_series),
        ("packs", {
            "id": "r + 1", "received": _ARRIVED, "size": f"{n * (LENGTH + 1024) + 4096}::bigint",
            "sidecar_offset": f"{n * (LENGTH + 1024)}::bigint", "instances": str(n),
            "stored": str(n), "duplicates": "0", "conflicts": "0", "pack_id": "'b' || lpad(r::text, 12, '0')",
            "study_uid": _STUDY_UID, "series_uid": _SERIES_UID, "origin": "'dimse'",
            "calling_aet": "'MODALITY' || r % 40", "remote_host": "'127.0.0.1'"}, of_series),
        ("instances", instances, of_instances),
        ("study_updates", {"study": "s + 1", "updated": _ARRIVED}, of_studies),
        ("study_sop_classes", {"study": "s + 1", "sop_class": f"id FROM (SELECT s, unnest(CASE WHEN s % 2 = 0 THEN "
                               f"ARRAY['{CT}'] ELSE ARRAY['{MR}', '{SR}'] END) AS uid"},
         f"{of_studies}) AS classes JOIN uids USING (uid)"),
        ("patient_names", owned | {"owner": "p + 1", "key": "key"}, of_patients),
        ("study_names", owned | {"owner": "s + 1", "key": "key"}, named),
        ("study_names", physician | _only_key(_chosen("x", PHYSICIANS, "s")), of_studies),
        ("patient_words", owned | {"owner": "p + 1", "word": "word", "sound": "sound"},
         f"{of_patients} JOIN people_words USING (p)"),
        ("study_words", owned | {"owner": "s + 1", "word": "word", "sound": "sound"},
         f"{named} JOIN people_words USING (p)"),
    ]  # fmt: skip
    for part in range(2):
        of = tuple(words(name_keys(name)[0])[part] for name in PHYSICIANS)
        heard = tuple(sound(word) or "" for word in of)
        found.append(("study_words", physician | {"word": _pick(of, "s"), "sound": _pick(heard, "s")}, of_studies))
    for level, (source, place) in enumerate((
        (of_patients, f"p * 2::bigint * {_CHANGES} + 1"), (of_studies, f"s * {_CHANGES}::bigint + 2"),
        (of_series, f"r * {_CHANGES // 2}::bigint + 3"), (of_instances, f"r * {_CHANGES // 2}::bigint + 3 + i"),
    )):  # fmt: skip
        arrived = _ARRIVED if level else _ARRIVED.replace("=> s", "=> p * 2")
        columns = {"seq": place, "date": arrived, "type": str(level + 1), "level": str(level)}
        found.append(("changes", columns | {"public_id": public[level]}, source))
    return found


def _only_key(columns: Mapping[str, str]) -> dict[str, str]:
    return {"key": columns["x_key"]}


def fill(url: str, begin: int, end: int, n: int) -> None:
    """Write the studies from `begin` to `end` (even numbers) into an index in PostgreSQL, with 2 x `n` instances each.

    `url`: SQLAlchemy's. Indexes are made anew afterwards, and the planner gets to know what is there.
    """
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        execute = connection.execute
        execute(
            "SET synchronous_commit = off; SET maintenance_work_mem = '512MB'; SET session_replication_role = replica"
        )
        execute("CREATE EXTENSION IF NOT EXISTS pgcrypto")
        for text in (*_SOP_CLASSES, EXPLICIT):
            execute("INSERT INTO uids (uid) VALUES (%s) ON CONFLICT DO NOTHING", [text])
        _introduce(connection, range(begin // 2, end // 2))
        statements = _statements(n)
        names = sorted({table for table, _, _ in statements})
        execute(
            "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = ANY (%s::regclass[])", [names]
        )
        for table, columns, source in statements:
            query = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {source}"
            execute(cast(LiteralString, query.replace(" % ", " %% ")), {"a": begin, "b": end})
        added = end - begin
        execute(
            "UPDATE totals SET patients = patients + %(s)s / 2, studies = studies + %(s)s, series = series + %(s)s * 2,"
            " packs = packs + %(s)s * 2, instances = instances + %(i)s, size = size + %(i)s * %(length)s::bigint",
            {"s": added, "i": added * 2 * n, "length": LENGTH},
        )
        for table in names:
            execute(cast(LiteralString, f"REINDEX TABLE {table}"))
            execute(cast(LiteralString, f"VACUUM ANALYZE {table}"))
            _continue_numbers(connection, table)


def _introduce(connection: psycopg.Connection[Any], patients: range) -> None:
    """Note the names of patients in the forms that the index has."""
    connection.execute("CREATE TEMP TABLE people (p int PRIMARY KEY, name text, key text)")
    connection.execute("CREATE TEMP TABLE people_words (p int, word text, sound text)")
    with connection.cursor() as cursor:
        with cursor.copy("COPY people FROM STDIN") as copy:
            for patient in patients:
                copy.write_row((patient, name_of(patient), name_keys(name_of(patient))[0]))
        with cursor.copy("COPY people_words FROM STDIN") as copy:
            for patient in patients:
                for word in words(name_keys(name_of(patient))[0]):
                    copy.write_row((patient, word, sound(word)))
    connection.execute("ANALYZE people; ANALYZE people_words")


def _continue_numbers(connection: psycopg.Connection[Any], table: str) -> None:
    """Let the index number new rows far behind these, so that there is room to fill more."""
    column = "seq" if table == "changes" else "id"
    if table not in ("study_sop_classes", "study_updates"):
        last = f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column}) + 1000000000) FROM {table}"
        connection.execute(cast(LiteralString, last))
