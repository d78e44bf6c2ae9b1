"""Whatever the order, repetition and concurrency in which packs come, the index ends up the same."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osteon.archive.changes import ChangeType
from osteon.archive.pack_records import StoredPack
from osteon.archive.resources import InstanceScope
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from support.fuzz.case_counts import EFFORT
from support.index.stored_packs import MR, check_sums, entry, pack, sqlite_url

pytestmark = pytest.mark.slow


def library() -> list[StoredPack]:
    """Make packs that share patients, studies, series and instances, without conflicts."""
    made = []
    for number in range(16):
        patient, of_study, of_series = f"P{number % 3}", f"1.{number % 3}.{number % 4}", f"1.{number % 3}.{number % 4}"
        members = [
            entry(
                patient, of_study, f"{of_series}.{number % 2}", f"{of_series}.{number % 2}.{number % 5 + i}",
                Modality="MR" if number % 2 else "CT", sop_class=MR if number % 2 else "1.2.840.10008.5.1.4.1.1.2",
                PatientName=f"Name^{patient}", StudyDate="20260101", AccessionNumber=of_study, offset=512 + 2048 * i,
            )
            for i in range(6)
        ]  # fmt: skip
        made.append(pack(*members, pack_id=f"pack-{number:02d}"))
    return made


PACKS = library()


@contextlib.asynccontextmanager
async def opened(url: str, *, fresh: bool = True) -> AsyncIterator[SqlIndex]:
    index = SqlIndex(url, pool=3)
    if fresh:
        await index.start()
    try:
        yield index
    finally:
        await index.close()


async def contents(index: Index) -> dict[str, object]:
    """Return all that must not depend on order: no row numbers, times, or which pack of equals came first."""
    found: dict[str, object] = {}
    for level in Level:
        for match in (await index.search(Search(level, limit=10_000))).matches:
            resource = match.instance or match.series or match.study or match.patient
            plain = (
                replace(resource, location=None, received=None) if match.instance else replace(resource, updated=None)
            )
            found[match.public_id] = plain
    found["statistics"] = replace(await index.statistics(), packs=0)
    found["bytes"] = sorted([(at.public_id, at.sha256, at.length) async for at in index.locate(InstanceScope())])
    changes = (await index.changes(limit=10_000)).changes
    found["changes"] = sorted((change.type, change.public_id) for change in changes)
    return found


def reference() -> dict[str, object]:
    async def one_by_one() -> dict[str, object]:
        with TemporaryDirectory() as folder:
            async with opened(f"sqlite+aiosqlite:///{folder}/index.db") as index:
                for each in PACKS:
                    await index.upsert([each])
                return await contents(index)

    return asyncio.run(one_by_one())


@pytest.fixture(scope="module")
def expected() -> dict[str, object]:
    return reference()


batches = st.lists(st.lists(st.sampled_from(PACKS), max_size=6), max_size=8)


@settings(max_examples=7 * EFFORT, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(PACKS), before=batches, sizes=st.lists(st.integers(1, 8), min_size=16, max_size=16))
def test_any_order_and_repetition_of_packs_gives_the_same_index(expected, order, before, sizes):
    async def run() -> None:
        with TemporaryDirectory() as folder:
            async with opened(sqlite_url(Path(folder) / "index.db"), fresh=False) as index:
                for batch in before:
                    await index.upsert(batch)
                rest: Sequence[StoredPack] = order
                for size in sizes:
                    await index.upsert(rest[:size])
                    rest = rest[size:]
                await index.upsert(order)
                assert await contents(index) == expected
                await check_sums(index)

    asyncio.run(run())


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("index_url"))
    return sqlite_url(tmp_path / "index.db")


async def test_indexers_that_work_at_once_on_overlapping_packs_give_the_same_index(url, expected):
    async def work(seed: int) -> dict[str, int]:
        chance = random.Random(seed)
        stored = {}
        async with opened(url) as index:
            for _ in range(6):
                batch = chance.sample(PACKS, chance.randint(1, 8))
                for outcome in await index.upsert(batch):
                    assert stored.setdefault(outcome.pack_id, outcome) == outcome
        return stored

    outcomes = await asyncio.gather(*(work(seed) for seed in range(6)))
    async with opened(url) as index:
        final = {o.pack_id: o for o in await index.upsert(PACKS)}
        for seen in outcomes:
            assert seen.items() <= final.items()
        assert await contents(index) == expected
        await check_sums(index)
        assert sum(o.stored for o in final.values()) == (await index.statistics()).instances


async def test_writers_that_claim_the_same_uids_for_other_patients_cross_without_harm(url):
    """The same 40 UIDs under two patients, in opposite orders: all go to the patient whose packs were begun first."""
    sops = [f"1.9.{i}" for i in range(40)]

    async def work(patient: str, order: list[str], index: SqlIndex) -> int:
        packs = [pack(entry(patient, "1.9", f"1.9.{patient}", sop, content=patient)) for sop in order]
        return sum([o.stored for o in await index.upsert(packs)])

    async with opened(url) as one, opened(url) as other:
        stored = await asyncio.gather(work("7", sops, one), work("8", sops[::-1], other))
        totals_ = await one.statistics()
        assert sum(stored) >= totals_.instances == 40
        assert [at.identity.patient_id async for at in one.locate(InstanceScope())] == ["7"] * 40
        assert totals_.conflicts == 40
        assert totals_.patients == await one.count(Search(Level.PATIENT)) == 1
        await check_sums(one)


async def test_who_follows_the_change_log_misses_nothing_while_many_write(index_url):
    seen: list[int] = []
    done = asyncio.Event()

    async def follow() -> None:
        async with opened(index_url) as index:
            while True:
                finished = done.is_set()
                page = await index.changes(since=seen[-1] if seen else 0, limit=7)
                seen.extend(change.seq for change in page.changes)
                if finished and page.done:
                    return

    async def write(number: int) -> None:
        async with opened(index_url) as index:
            for i in range(12):
                uid = f"1.{number}.{i}"
                await index.upsert([pack(entry(f"P{number}", uid, f"{uid}.1", f"{uid}.1.1"))])

    async with opened(index_url) as index:
        follower = asyncio.create_task(follow())
        await asyncio.gather(*(write(number) for number in range(4)))
        done.set()
        await follower
        every = [change.seq for change in (await index.changes(limit=10_000)).changes]
        assert seen == every
        instances_ = await index.changes(types=[ChangeType.NEW_INSTANCE], limit=10_000)
        assert len(instances_.changes) == 48
