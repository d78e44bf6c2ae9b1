"""User data over SQLite and PostgreSQL: written where nobody was faster, restored where newer, found by index."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.changes import ChangeType
from osteon.archive.errors import ResourceNotFound
from osteon.contracts.user_data import Attachment, MetadataValue, UserDataRecord, record_key
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.dicom.query import (
    LabelFilter,
    LabelsConstraint,
    Matching,
    MetadataKey,
    OneOf,
    Order,
    Search,
    Single,
    Wildcard,
)
from osteon.index.search import page_statement
from osteon.index.sql import SqlIndex
from osteon.user_data.change import user_data_of
from osteon.user_data.port import UserData
from support.index.stored_packs import sqlite_url, study

FIRST, SECOND = public_id("P1", "1.2.1"), public_id("P1", "1.2.2")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlIndex]:
    postgres = request.param == "postgres"
    opened = SqlIndex(str(request.getfixturevalue("index_url")) if postgres else sqlite_url(tmp_path / "i.sqlite"))
    await opened.start()
    await opened.upsert([study("P1", "1.2.1"), study("P1", "1.2.2")])
    yield opened
    await opened.close()


def record(id: str, revision: int, unique: str = "a", **fields: object) -> UserDataRecord:
    return UserDataRecord.model_validate(
        {
            "correlation_id": "c", "level": Level.STUDY, "public_id": id, "revision": revision,
            "key": record_key(Level.STUDY, id, revision, unique), "changed_at": datetime.now(UTC), **fields,
        }
    )  # fmt: skip


FULL = {
    "labels": ("a", "b"),
    "metadata": {1024: MetadataValue(value="one\ntwo ü", revision=3)},
    "attachments": {1025: Attachment(key="k", size=5, md5="x", stored_size=4, stored_md5="y", compressed=True)},
    "protected": True,
}


async def test_what_was_written_is_read_and_can_be_written_over_in_turn(index: SqlIndex) -> None:
    store = index.user_data
    assert await store.read(Level.STUDY, FIRST) == UserData()
    first = record(FIRST, 1, **FULL)
    assert await store.replace(UserData(), first)
    assert await store.read(Level.STUDY, FIRST) == user_data_of(first)
    second = record(FIRST, 2, labels=("b", "c"), metadata={1024: MetadataValue(value="new", revision=4)})
    assert await store.replace(user_data_of(first), second)
    assert await store.read_many(Level.STUDY, [FIRST, SECOND]) == {FIRST: user_data_of(second)}
    assert await store.known_objects([first.key, second.key, "k"]) == {second.key}
    assert await store.labels() == ["b", "c"]


async def test_who_is_later_writes_nothing(index: SqlIndex) -> None:
    store, first = index.user_data, record(FIRST, 1, labels=("a",))
    assert await store.replace(UserData(), first)
    assert not await store.replace(UserData(), record(FIRST, 1, "b", labels=("b",)))
    assert not await store.replace(replace(user_data_of(first), record="other"), record(FIRST, 2, labels=("b",)))
    assert await store.read(Level.STUDY, FIRST) == user_data_of(first)


async def test_what_is_not_in_the_archive_has_no_user_data(index: SqlIndex) -> None:
    unknown = public_id("P9", "1.9")
    with pytest.raises(ResourceNotFound):
        await index.user_data.read(Level.STUDY, unknown)
    with pytest.raises(ResourceNotFound):
        await index.user_data.replace(UserData(), record(unknown, 1))


async def test_a_record_is_restored_when_it_is_newer_and_may_come_before_its_resource(index: SqlIndex) -> None:
    later = public_id("P1", "1.2.3")
    assert await index.user_data.restore(record(later, 7, **FULL))
    assert not await index.user_data.restore(record(later, 6, labels=("old",)))
    assert await index.user_data.labels() == []
    await index.upsert([study("P1", "1.2.3")])
    assert await index.user_data.read(Level.STUDY, later) == user_data_of(record(later, 7, **FULL))
    assert await index.user_data.labels() == ["a", "b"]


async def test_metadata_and_attachments_are_changes_for_the_log_labels_are_not(index: SqlIndex) -> None:
    before = await index.last_change()
    assert before is not None
    first = record(FIRST, 1, labels=("a",))
    await index.user_data.replace(UserData(), first)
    assert await index.last_change() == before
    await index.user_data.replace(user_data_of(first), record(FIRST, 2, **FULL))
    (*_, metadata, attachment) = (await index.changes(since=before.seq)).changes
    assert (metadata.type, attachment.type) == (ChangeType.UPDATED_METADATA, ChangeType.UPDATED_ATTACHMENT)
    assert {(each.level, each.public_id) for each in (metadata, attachment)} == {(Level.STUDY, FIRST)}


@pytest.mark.parametrize(
    ("labels", "constraint", "found"),
    [
        ("ab", LabelsConstraint.ALL, [FIRST]),
        ("bc", LabelsConstraint.ANY, [FIRST, SECOND]),
        ("a", LabelsConstraint.NONE, [SECOND]),
        ("x", LabelsConstraint.ALL, []),
    ],
)
async def test_studies_are_found_by_their_labels(
    index: SqlIndex, labels: str, constraint: LabelsConstraint, found: list[str]
) -> None:
    await index.user_data.replace(UserData(), record(FIRST, 1, labels=("a", "b")))
    await index.user_data.replace(UserData(), record(SECOND, 1, labels=("c",)))
    search = Search(Level.STUDY, labels=LabelFilter(tuple(labels), constraint))
    assert [match.public_id for match in (await index.search(search)).matches] == found
    assert await index.count(search) == len(found)


async def with_values(index: SqlIndex, values: str) -> list[str]:
    """Add a study for each value of metadata 1024, `-` for none, and return their identifiers."""
    found = []
    for number, value in enumerate(values.split()):
        uid = f"1.3.{number}"
        await index.upsert([study("P2", uid)])
        found.append(public_id("P2", uid))
        if value != "-":
            metadata = {1024: MetadataValue(value=value), 1025: MetadataValue(value="other")}
            await index.user_data.replace(UserData(), record(found[-1], 1, metadata=metadata))
    return found


@pytest.mark.parametrize(
    ("matching", "case_sensitive", "found"),
    [
        (Single("ABC"), False, [0, 1]),
        (Single("ABC"), True, [1]),
        (Wildcard("a?c*"), False, [0, 1, 2]),
        (Wildcard("*"), False, [0, 1, 2, 4]),
        (OneOf(("x", "abcd")), False, [2, 4]),
        (Single("other"), False, []),
    ],
    ids=str,
)
async def test_studies_are_found_by_their_metadata(
    index: SqlIndex, matching: Matching, case_sensitive: bool, found: list[int]
) -> None:
    studies = await with_values(index, "abc ABC abcd - x")
    search = Search(Level.STUDY, metadata=(MetadataKey(1024, matching),), case_sensitive=case_sensitive)
    assert [match.public_id for match in (await index.search(search)).matches] == [studies[n] for n in found]
    assert await index.count(search) == len(found)
    below = Search(Level.SERIES, metadata=(MetadataKey(1024, matching),))
    assert await index.count(below) == 0


@pytest.mark.parametrize(
    ("descending", "found"), [(False, [3, 1, 4, 0, 2]), (True, [0, 4, 1, 3, 2])], ids=["rising", "falling"]
)
async def test_studies_are_sorted_by_their_metadata_those_without_last(
    index: SqlIndex, descending: bool, found: list[int]
) -> None:
    studies = await with_values(index, "d b - a c")
    search = Search(Level.STUDY, order=(Order("", descending, 1024),))
    every = [match.public_id for match in (await index.search(search)).matches]
    sorted_ones = [studies[n] for n in found]
    assert [each for each in every if each in studies] == sorted_ones
    assert len(every) == len(studies) + 2
    paged = [
        match.public_id
        for offset in range(0, len(every), 3)
        for match in (await index.search(replace(search, offset=offset, limit=3))).matches
    ]
    assert paged == every
    assert await index.count(search) == len(every)


async def test_metadata_and_attributes_are_sorted_by_together(index: SqlIndex) -> None:
    studies = await with_values(index, "b a b a")
    order = (Order("", metadata=1024), Order("StudyInstanceUID", descending=True))
    found = [match.public_id for match in (await index.search(Search(Level.STUDY, order=order, limit=4))).matches]
    assert found == [studies[n] for n in (3, 1, 2, 0)]


async def filled(index: SqlIndex) -> None:
    """Add many rows of user data, and let the planner know."""
    rows = [
        {"level": 1, "public_id": n.to_bytes(20, "big"), "label": f"l{n % 50}", "value": f"{n}"} for n in range(3000)
    ]

    async def fill(connection: AsyncConnection) -> None:
        await connection.execute(
            text("INSERT INTO labels (level, public_id, label) VALUES (:level, :public_id, :label)"), rows
        )
        await connection.execute(
            text(
                "INSERT INTO resource_metadata (level, public_id, code, revision, value, key)"
                " VALUES (:level, :public_id, 1024, 0, :value, :value)"
            ),
            rows,
        )
        await connection.execute(text("ANALYZE"))

    await index.database.write(fill)


@pytest.mark.parametrize(
    ("search", "used"),
    [
        (Search(Level.STUDY, labels=LabelFilter(("l7",))), "labels"),
        (Search(Level.STUDY, metadata=(MetadataKey(1024, Single("77")),)), "resource_metadata"),
    ],
    ids=["label", "metadata"],
)
async def test_user_data_are_looked_up_in_their_index(index: SqlIndex, search: Search, used: str) -> None:
    await filled(index)
    dialect = index.database.dialect
    statement = page_statement(dialect, search)
    async with index.database.read() as connection:
        sql = str(statement.compile(connection.engine, compile_kwargs={"literal_binds": True}))
        explain = "EXPLAIN " if dialect.absent_values_last else "EXPLAIN QUERY PLAN "
        plan = "\n".join(str(tuple(row)) for row in await connection.execute(text(explain + sql.replace(":", "\\:"))))
    assert f"ix_{used}_" in plan or f"pk_{used}" in plan or f"sqlite_autoindex_{used}" in plan, plan
    assert "SCAN labels" not in plan
    assert "SCAN resource_metadata" not in plan
