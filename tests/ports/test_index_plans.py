"""The searches that archives live on are answered by an index, in SQLite and in PostgreSQL: their plans name it."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from osteon.archive.changes import ChangeType
from osteon.archive.pack_records import StoredPack
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import (
    LAST_UPDATE,
    Matching,
    MatchingKey,
    OneOf,
    Order,
    Range,
    Search,
    Single,
    Wildcard,
)
from osteon.index.search import Place, page_statement
from osteon.index.sql import SqlIndex
from osteon.index.tables import instances, studies
from support.index.stored_packs import pack, slices

pytestmark = pytest.mark.slow

STUDIES = 1200
INFIX = r"ix_study_names_key_trigrams|study_names_fts VIRTUAL TABLE INDEX \d+:.*G"
FAMILIES = [
    a + b + c for a in "BDFGKLMNPRSTW" for b in ("a", "e", "i", "o", "u") for c in ("lert", "mann", "sen", "witz")
]


def one(number: int) -> StoredPack:
    given = "".join("abcdefghij"[int(digit)] for digit in str(number))
    name = f"{FAMILIES[number % len(FAMILIES)]}^Given{given}"
    day = date(2018, 1, 1) + timedelta(days=number)
    attributes = {"PatientName": name, "StudyDate": f"{day:%Y%m%d}", "AccessionNumber": f"A{number:06d}",
                  "PatientBirthDate": f"{day:%Y%m%d}", "Modality": "MR" if number % 50 == 0 else "CT"}  # fmt: skip
    return pack(*slices(1, f"P{number}", f"1.2.{number}", f"1.2.{number}.1", **attributes))


async def crowd(connection) -> None:
    """Let there be many more names, so that reading all is no choice, and let the planner know."""
    numbers = " UNION ALL ".join(f"SELECT {n} AS n" for n in range(5))
    more = f"SELECT owner, 'ReferringPhysicianName', key || n FROM study_names, ({numbers}) AS numbers"
    await connection.execute(text(f"INSERT INTO study_names (owner, keyword, key) {more}"))
    await connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def full_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres").create_database())
    else:
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('plans')}/index.db"

    async def fill() -> None:
        index = SqlIndex(url)
        await index.start()
        await index.upsert([one(number) for number in range(STUDIES)])
        await index.database.write(crowd)
        await index.close()

    asyncio.run(fill())
    return url


@pytest.fixture
async def index(full_url: str) -> AsyncIterator[SqlIndex]:
    opened = SqlIndex(full_url)
    yield opened
    await opened.close()


async def plan(index: SqlIndex, statement) -> str:
    """Return the database's plan, a line a step."""
    async with index.database.read() as connection:
        sql = statement.compile(connection.engine.sync_engine, compile_kwargs={"render_postcompile": True})
        prefix = "EXPLAIN QUERY PLAN "
        if connection.dialect.name == "postgresql":
            prefix = "EXPLAIN "
            # So many rows are so few pages that reading all may be cheapest: ask for the plan for more.
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
        parameters = [sql.params[name] for name in sql.positiontup] if sql.positional else sql.params
        bound = tuple(parameters) if isinstance(parameters, list) else parameters
        rows = await connection.exec_driver_sql(prefix + str(sql), bound)
        return "\n".join(str(row[-1]) for row in rows)


async def plan_of(index: SqlIndex, level: Level, keyword: str, matching: Matching, **options) -> str:
    merging = options.get("one_per_uid", False)
    search = Search(level, (MatchingKey((keyword,), matching),), **options)
    return await plan(index, page_statement(index.database.dialect, search, merging=merging))


@pytest.mark.parametrize(
    ("keyword", "matching", "options", "wanted"),
    [
        ("PatientName", Wildcard("balert^*"), {}, r"ix_study_names_keyword_key"),
        ("PatientName", Single("BALERT^GIVENCGA"), {}, r"ix_study_names_keyword_key"),
        ("PatientName", Wildcard("*givenbcde*"), {}, INFIX),
        ("PatientName", Single("Givenbcde"), {"fuzzy": True}, r"ix_study_words_keyword_word"),
        ("PatientName", Single("Balertt"), {"fuzzy": True}, r"ix_study_words_keyword_sound"),
        ("StudyDate", Range("20200101", "20200105"), {}, r"ix_studies_study_date_key_study_time_key"),
        ("StudyDate", Single("20200101"), {}, r"ix_studies_study_date_key_study_time_key"),
        ("StudyInstanceUID", Single("1.2.77"), {}, r"ix_studies_study_instance_uid"),
        ("StudyInstanceUID", OneOf(("1.2.77", "1.2.78")), {}, r"ix_studies_study_instance_uid"),
        ("AccessionNumber", Single("a000077"), {}, r"ix_studies_accession_number_key\b"),
        ("AccessionNumber", Single("A000077"), {"case_sensitive": True}, r"ix_studies_accession_number_key\b"),
        ("AccessionNumber", Wildcard("A00007*"), {}, r"ix_studies_accession_number_key\b"),
        ("PatientID", Single("P77"), {}, r"ix_studies_patient_id_key\b"),
        ("PatientBirthDate", Single("19700101"), {}, r"ix_studies_patient_birth_date_key"),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("one_per_uid", [False, True], ids=["rest", "dicom"])
async def test_a_study_search_uses_an_index(index, keyword, matching, options, wanted, one_per_uid):
    found = await plan_of(index, Level.STUDY, keyword, matching, one_per_uid=one_per_uid, **options)
    assert re.search(wanted, found), found
    assert not re.search(
        r"Seq Scan on (studies|study_names|study_words)|SCAN (studies|study_names|study_words)$", found, re.M
    ), found


async def test_patients_are_found_by_name_and_id_by_an_index(index):
    assert "ix_patients_patient_id_key" in await plan_of(index, Level.PATIENT, "PatientID", Single("P77"))
    assert "ix_patient_names_keyword_key" in await plan_of(index, Level.PATIENT, "PatientName", Wildcard("balert^*"))


async def test_instances_of_a_study_and_single_ones_are_found_by_an_index(index):
    by_study = await plan_of(index, Level.IMAGE, "StudyInstanceUID", Single("1.2.77"))
    assert "ix_instances_series" in by_study
    assert "ix_series_study" in by_study
    alone = await plan_of(index, Level.IMAGE, "SOPInstanceUID", Single("1.2.77.1.1"))
    assert re.search("uq_instances_sop_instance_uid|sqlite_autoindex_instances", alone)


@pytest.mark.parametrize("table", [studies, instances], ids=str)
async def test_a_public_identifier_is_found_by_an_index(index, table):
    found = await plan(index, table.select().where(table.c.public_id == b"x" * 20))
    assert re.search(rf"uq_{table.name}_public_id|sqlite_autoindex_{table.name}", found), found


async def test_a_page_behind_a_cursor_starts_there(index):
    statement = page_statement(index.database.dialect, Search(Level.IMAGE, limit=10), None, Place(STUDIES // 2))
    found = await plan(index, statement)
    assert re.search(r"pk_instances|USING INTEGER PRIMARY KEY", found), found
    assert not re.search(r"Sort|TEMP B-TREE", found), found


@pytest.mark.parametrize("one_per_uid", [False, True], ids=["rest", "dicom"])
@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE], ids=str)
@pytest.mark.parametrize("after", [None, Place(STUDIES - 2, "20260101")], ids=["first page", "next page"])
async def test_a_page_of_many_recent_studies_does_not_go_through_all_older_ones(index, level, after, one_per_uid):
    day = f"{date(2018, 1, 1) + timedelta(days=STUDIES * 9 // 10):%Y%m%d}"
    search = Search(level, (MatchingKey(("StudyDate",), Range(day, None)),), limit=10, one_per_uid=one_per_uid)
    found = await plan(index, page_statement(index.database.dialect, search, None, after, merging=one_per_uid))
    assert "ix_studies_study_date_key_study_time_key" in found, found
    assert "pk_" not in found.partition("Nested Loop")[0], found


def key(keyword: str, matching: Matching) -> MatchingKey:
    return MatchingKey((keyword,), matching)


SORTED = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber", "StudyID",
          "StudyDescription", "ReferringPhysicianName", "InstitutionName", LAST_UPDATE]  # fmt: skip
MANY = key("ModalitiesInStudy", Single("CT"))
RECENT = key("StudyDate", Range("20210101", None))
ASKED = {
    "name and modality": lambda index: index.search(Search(Level.STUDY, (key("PatientName", Wildcard("ba*")), MANY))),
    "date and modality": lambda index: index.search(Search(Level.STUDY, (RECENT, MANY))),
    "modality": lambda index: index.search(Search(Level.STUDY, (MANY,), limit=10)),
    "modality of series": lambda index: index.search(Search(Level.SERIES, (key("Modality", Single("MR")),), limit=10)),
    "name of series": lambda index: index.search(Search(Level.SERIES, (key("PatientName", Wildcard("ba*")),))),
    "Patient ID of instances": lambda index: index.search(Search(Level.IMAGE, (key("PatientID", Single("P7")),))),
    "a modality, newest first": lambda index: index.search(
        Search(Level.STUDY, (MANY,), order=(Order("StudyDate", True),), limit=10)
    ),
    "a modality, last received first": lambda index: index.search(
        Search(Level.STUDY, (MANY,), order=(Order(LAST_UPDATE, True),), limit=10)
    ),
    "changes": lambda index: index.changes(since=STUDIES, limit=10),
    "changes of studies": lambda index: index.changes(since=STUDIES, limit=10, types=[ChangeType.NEW_STUDY]),
    "lookup": lambda index: index.lookup("A000077"),
    "identifiers": lambda index: index.identifiers(Level.STUDY, [3, 5, 7]),
    "what is below studies": lambda index: index.children(Level.STUDY, [public_id("P7", "1.2.7")] * 2),
    "count of all": lambda index: index.count(Search(Level.IMAGE)),
    "count of some": lambda index: index.count(Search(Level.STUDY, (MANY,)), at_most=10),
    "statistics": lambda index: index.statistics(),
}


def asked_in_order(keyword: str, *, falling: bool):
    return lambda index: index.search(Search(Level.STUDY, order=(Order(keyword, falling),), limit=10))


async def plans(index: SqlIndex, ask) -> list[str]:
    """Return the plans of all that a question asks the database."""
    seen: list[tuple[str, Any]] = []

    def note(_connection, _cursor, statement, parameters, *_) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    async with index.database.read() as connection:
        engine = connection.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        await ask(index)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    made = []
    async with index.database.read() as connection:
        postgres = connection.dialect.name == "postgresql"
        if postgres:
            await connection.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in seen:
            rows = await connection.exec_driver_sql(
                ("EXPLAIN " if postgres else "EXPLAIN QUERY PLAN ") + statement, parameters
            )
            made.append(statement + "\n" + "\n".join(str(row[-1]) for row in rows))
    return made


BIG = "studies|instances|patients|packs|changes|study_names|study_words|study_updates"


@pytest.mark.parametrize("question", ASKED)
async def test_no_question_reads_all_rows_of_a_big_table(index, question):
    found = await plans(index, ASKED[question])
    assert found
    for one_plan in found:
        # SQLite goes through series in the order of the page, to stop at its end.
        assert not re.search(rf"Seq Scan on ({BIG}|series)\b|SCAN ({BIG})$", one_plan, re.M), one_plan


@pytest.mark.parametrize("falling", [False, True], ids=["rising", "falling"])
@pytest.mark.parametrize("keyword", SORTED)
async def test_the_first_page_of_a_sorted_list_sorts_no_more_than_equals(index, keyword, falling):
    page = (await plans(index, asked_in_order(keyword, falling=falling)))[0]
    assert re.search(r"Index (Only )?Scan( Backward)? using ix_|USING (COVERING )?INDEX ix_", page), page
    assert not re.search(rf"Seq Scan|(^|-> ) *Sort  |SCAN ({BIG})$|TEMP B-TREE FOR ORDER BY", page, re.M), page


async def test_a_page_of_studies_takes_two_statements(index):
    await index.search(Search(Level.STUDY, limit=10))  # the UIDs are known from then on
    page = await plans(index, lambda index: index.search(Search(Level.STUDY, limit=10)))
    assert len(page) == 2, "\n\n".join(page)
