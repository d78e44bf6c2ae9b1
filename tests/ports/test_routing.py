"""What every index does for routing: stability, rules, and destinations that fail."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon.archive.changes import ChangeType
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.index.sql import SqlIndex
from osteon.rules.errors import RuleNotFound
from osteon.rules.port import CircuitState, StoredRule
from support.index.stored_packs import pack, slices, sqlite_url, study

STABLE = (ChangeType.STABLE_PATIENT, ChangeType.STABLE_STUDY, ChangeType.STABLE_SERIES)
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CT = StoredRule("ct", {"when": "instance", "match": {"Modality": "CT"}, "send": [{"modality": "Ü"}]}, True)
SECOND = timedelta(seconds=1)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlIndex]:
    postgres = request.param == "postgres"
    opened = SqlIndex(str(request.getfixturevalue("index_url")) if postgres else sqlite_url(tmp_path / "i.db"))
    await opened.start()
    yield opened
    await opened.close()


def soon() -> datetime:
    return datetime.now(UTC) + SECOND


async def stable_entries(index: SqlIndex) -> list[tuple[ChangeType, Level]]:
    return [(change.type, change.level) for change in (await index.changes(types=STABLE)).changes]


async def stable(index: SqlIndex) -> list[bool]:
    (match,) = (await index.search(Search(level=Level.SERIES))).matches
    return [match.patient.stable, match.study.stable, match.series.stable]


async def test_what_gets_instances_is_not_stable_until_it_gets_none_for_a_while(index):
    await index.upsert([study("P1", "1.2.1", 2)])
    assert await index.stability.mark_stable(datetime.now(UTC) - timedelta(seconds=60)) == 0
    assert await stable(index) == [False] * 3
    assert await index.stability.mark_stable(soon()) == 3
    assert await stable(index) == [True] * 3


async def test_each_period_of_growing_ends_in_one_entry_of_the_change_log(index):
    await index.upsert([study("P1", "1.2.1", 2)])
    for _ in range(3):
        await index.stability.mark_stable(soon())
    first = await stable_entries(index)
    assert sorted(first) == sorted(zip(STABLE, (Level.PATIENT, Level.STUDY, Level.SERIES), strict=True))
    await index.upsert([pack(*slices(3, "P1", "1.2.1", "1.2.1.1")[2:])])
    assert await stable(index) == [False] * 3
    await index.stability.mark_stable(soon())
    assert sorted(await stable_entries(index)) == sorted(first * 2)


async def test_instances_that_are_known_already_do_not_make_a_study_grow(index):
    await index.upsert([study("P1", "1.2.1", 2)])
    await index.stability.mark_stable(soon())
    await index.upsert([study("P1", "1.2.1", 2)])
    assert await stable(index) == [True] * 3
    assert await index.stability.mark_stable(soon()) == 0


async def test_a_new_series_lets_the_others_of_its_study_stay_stable(index):
    await index.upsert([study("P1", "1.2.1", 1)])
    await index.stability.mark_stable(soon())
    await index.upsert([pack(*slices(1, "P1", "1.2.1", "1.2.1.2"))])
    matches = (await index.search(Search(level=Level.SERIES))).matches
    assert sorted((match.study.stable, match.series.stable) for match in matches) == [(False, False), (False, True)]


async def test_many_sweeps_at_once_log_each_resource_once(index):
    await index.upsert([study(f"P{i}", f"1.2.{i}") for i in range(40)])
    swept = await asyncio.gather(*(index.stability.mark_stable(soon(), limit=50) for _ in range(6)))
    while more := await index.stability.mark_stable(soon(), limit=50):
        swept.append(more)
    assert sum(swept) == 120
    page = await index.changes(types=STABLE, limit=1000)
    assert len({(change.type, change.public_id) for change in page.changes}) == len(page.changes) == 120


async def test_sweeps_and_indexing_at_the_same_time_lose_no_period(index):
    async def sweep() -> None:
        for _ in range(10):
            await index.stability.mark_stable(soon())

    async def grow() -> None:
        for i in range(10):
            await index.upsert([pack(*slices(i + 1, "P1", "1.2.1", "1.2.1.1")[i:])])

    await asyncio.gather(sweep(), grow(), sweep())
    await index.stability.mark_stable(soon())
    entries = (await index.changes(limit=1000)).changes
    last_new = max(change.seq for change in entries if change.type is ChangeType.NEW_INSTANCE)
    after = {change.type for change in entries if change.seq > last_new}
    assert after == set(STABLE)
    assert await stable(index) == [True] * 3


async def test_who_follows_the_change_log_goes_on_where_it_was_and_never_back(index):
    assert await index.stability.position("router") == 0
    assert await index.stability.position("other") == 0
    for seq in (5, 3, 9):
        await index.stability.advance("other", seq)
    await index.stability.advance("router", 4)
    assert [await index.stability.position(name) for name in ("other", "router")] == [9, 4]


async def test_rules_come_back_as_they_were_put_by_name(index):
    other = StoredRule("a", {"when": "study", "send": [{"peer": "p"}]}, False)
    for rule in (CT, other):
        await index.rules.put(rule)
    assert list(await index.rules.all()) == [other, CT]
    assert await index.rules.get("ct") == CT


async def test_a_rule_is_replaced_disabled_and_deleted(index):
    await index.rules.put(CT)
    changed = StoredRule("ct", {**CT.body, "priority": 3}, True)
    await index.rules.put(changed)
    assert await index.rules.get("ct") == changed
    await index.rules.enable("ct", False)
    assert (await index.rules.get("ct")).enabled is False
    await index.rules.delete("ct")
    assert list(await index.rules.all()) == []


async def test_a_rule_that_is_not_there_cannot_be_read_disabled_or_deleted(index):
    for call in (index.rules.get("x"), index.rules.enable("x", True), index.rules.delete("x")):
        with pytest.raises(RuleNotFound, match="'x'"):
            await call


async def test_failures_of_a_destination_are_counted_until_it_works(index):
    assert await index.circuits.get("modality:a") is None
    assert [await index.circuits.failed("modality:a", "no\x00 route", NOW) for _ in range(3)] == [1, 2, 3]
    assert await index.circuits.failed("peer:b", "x" * 9999, NOW) == 1
    found = await index.circuits.get("modality:a")
    assert (found.failures, found.error, found.since, found.state(NOW)) == (3, "no route", NOW, CircuitState.CLOSED)
    assert [circuit.destination for circuit in await index.circuits.all()] == ["modality:a", "peer:b"]
    await index.circuits.close("modality:a")
    assert await index.circuits.get("modality:a") is None


async def test_one_of_many_tries_a_destination_again(index):
    await index.circuits.failed("modality:a", "down", NOW)
    await index.circuits.open("modality:a", NOW + SECOND)
    assert (await index.circuits.get("modality:a")).state(NOW) is CircuitState.OPEN
    assert not await index.circuits.probe("modality:a", NOW, NOW + 60 * SECOND)
    later, until = NOW + 2 * SECOND, NOW + 60 * SECOND
    turns = await asyncio.gather(*(index.circuits.probe("modality:a", later, until) for _ in range(5)))
    assert sorted(turns) == [False] * 4 + [True]
    assert (await index.circuits.get("modality:a")).state(later) is CircuitState.HALF_OPEN
    assert await index.circuits.probe("modality:a", until, until + SECOND)
