"""The contract of `osteon.remotes`, over SQLite and PostgreSQL: modalities, peers, and searches with their answers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon.index.sql import SqlIndex
from osteon.remotes.port import Manufacturer, Modality, Peer, Permission, RemoteNotFound, Remotes
from osteon.remotes.queries import QueryNotFound, RemoteQueries, RemoteQuery
from support.index.stored_packs import sqlite_url

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=9999)
SINK = Modality(name="sink", aet="SINK", host="127.0.0.1", port=11299)
FULL = Modality(
    name="ct-1", aet="CT1", host="ct.example.org", port=104, manufacturer=Manufacturer.GE,
    permissions=frozenset({Permission.ECHO, Permission.STORAGE_COMMITMENT}), allow_transcoding=False, tls=True,
    local_aet="HERE", timeout=7, retrieve_method="C-GET",
)  # fmt: skip
CLOUD = Peer(
    name="cloud", url="https://cloud.example.org/orthanc/", username="user", password="secret",
    headers=(("X-Token", "t"), ("X-Other", "ü")), ca_file="/ca.pem", timeout=3, dicomweb=True,
)  # fmt: skip


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlIndex]:
    postgres = request.param == "postgres"
    opened = SqlIndex(str(request.getfixturevalue("index_url")) if postgres else sqlite_url(tmp_path / "i.db"))
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def remotes(index: SqlIndex) -> Remotes:
    return index.remotes


@pytest.fixture
def queries(index: SqlIndex) -> RemoteQueries:
    return index.queries


def remote_query(number: int, **more: object) -> RemoteQuery:
    created = NOW + timedelta(seconds=number)
    return RemoteQuery(id=f"q{number}", modality="sink", level="Study", created=created, **more)


async def test_at_first_no_remote_is_known(remotes):
    assert (list(await remotes.modalities()), list(await remotes.peers())) == ([], [])


async def test_modalities_and_peers_come_back_as_they_were_put_by_name(remotes):
    for modality in (SINK, FULL):
        await remotes.put_modality(modality)
    await remotes.put_peer(CLOUD)
    assert list(await remotes.modalities()) == [FULL, SINK]
    assert await remotes.modality("ct-1") == FULL
    assert list(await remotes.peers()) == [await remotes.peer("cloud")] == [CLOUD]


async def test_putting_again_replaces(remotes):
    await remotes.put_modality(FULL)
    await remotes.put_modality(replace(SINK, name="ct-1"))
    assert list(await remotes.modalities()) == [replace(SINK, name="ct-1")]
    await remotes.put_peer(CLOUD)
    await remotes.put_peer(Peer(name="cloud", url="http://other/"))
    assert await remotes.peer("cloud") == Peer(name="cloud", url="http://other/")


async def test_modalities_are_found_by_ae_title_in_its_case(remotes):
    for name in ("b", "a"):
        await remotes.put_modality(replace(SINK, name=name))
    await remotes.put_modality(FULL)
    assert [modality.name for modality in await remotes.modalities_of("SINK")] == ["a", "b"]
    assert list(await remotes.modalities_of("sink")) == []


async def test_what_is_deleted_or_was_never_there_is_not_found(remotes):
    await remotes.put_modality(SINK)
    await remotes.delete_modality("sink")
    for missing in (remotes.modality, remotes.delete_modality, remotes.peer, remotes.delete_peer):
        with pytest.raises(RemoteNotFound, match="sink"):
            await missing("sink")


async def test_a_modality_may_be_put_by_several_at_once(remotes):
    await asyncio.gather(*(remotes.put_modality(replace(SINK, port=port)) for port in range(1, 9)))
    assert len(await remotes.modalities()) == 1


def test_a_password_is_not_in_the_text_of_a_peer():
    assert "secret" not in repr(CLOUD) and "X-Token" not in repr(CLOUD)


async def test_answers_come_back_in_their_order(queries):
    query = remote_query(1, query={"PatientName": "Ü*"}, local_aet="HERE", timeout=9)
    await queries.add(query, keep=9, older_than=LONG_AGO)
    await queries.add_answers("q1", [b"0", b"1"])
    await queries.add_answers("q1", [])
    await queries.add_answers("q1", [b"2"])
    assert await queries.get("q1") == replace(query, answers=3)
    assert list(await queries.answers("q1")) == [b"0", b"1", b"2"]
    assert list(await queries.answers("q1", since=1, limit=1)) == [b"1"]
    assert list(await queries.answers("q1", since=3)) == []


async def test_batches_of_answers_at_once_get_numbers_of_their_own(queries):
    await queries.add(remote_query(1), keep=9, older_than=LONG_AGO)
    await asyncio.gather(*(queries.add_answers("q1", [b"%d" % i] * 3) for i in range(5)))
    assert sorted(await queries.answers("q1")) == sorted(b"%d" % i for i in range(5) for _ in range(3))


async def test_only_the_newest_searches_are_kept(queries):
    for number in range(5):
        await queries.add(remote_query(number), keep=3, older_than=LONG_AGO)
        await queries.add_answers(f"q{number}", [b"x"])
    assert [query.id for query in await queries.list()] == ["q2", "q3", "q4"]
    assert list(await queries.answers("q1")) == []


async def test_old_searches_are_forgotten(queries):
    await queries.add(remote_query(0), keep=9, older_than=LONG_AGO)
    await queries.add(remote_query(10), keep=9, older_than=NOW + timedelta(seconds=5))
    assert [query.id for query in await queries.list()] == ["q10"]


async def test_a_search_that_is_not_there_is_not_found(queries):
    await queries.add(remote_query(1), keep=9, older_than=LONG_AGO)
    await queries.delete("q1")
    for missing in (queries.get("q1"), queries.delete("q1"), queries.add_answers("q1", [b"x"])):
        with pytest.raises(QueryNotFound, match="q1"):
            await missing
