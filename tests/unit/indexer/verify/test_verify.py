"""`osteon verify` names every damage, and nothing else."""

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from osteon.archive.pack_records import PackRows
from osteon.conflicts import resolve
from osteon.contracts.conflicts import Keep
from osteon.contracts.packs import PackStored
from osteon.index import tables
from osteon.packs import sidecar
from osteon_indexer.external_sort import ExternalSorter
from osteon_indexer.verify.compare import Verifier, VerifyOptions, merged
from osteon_indexer.verify.deep import RateLimiter
from osteon_indexer.verify.problems import ADVICE, ProblemKind, VerifyProblem, VerifyProgress
from support.dicom.datasets import ct_slice
from support.indexer.ports import IndexerPorts

NOW = timedelta(0)


async def verify(
    room: IndexerPorts, *, deep: bool = True, min_age: timedelta = NOW, **wanted: object
) -> list[VerifyProblem]:
    found: list[VerifyProblem] = []
    tally = VerifyProgress()
    await Verifier(
        room.objects, room.index, VerifyOptions(deep=deep, min_age=min_age, **wanted), tally, found.append
    ).run()
    assert tally.problems == len(found)
    return found


def kinds(problems: list[VerifyProblem]) -> dict[str, ProblemKind]:
    return {problem.key: problem.kind for problem in problems}


async def contested(room: IndexerPorts) -> tuple[PackStored, PackStored]:
    first, second = ct_slice(), ct_slice(number=2)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    packs = await room.put("c1", first), await room.put("c2", second)
    await room.run(*packs)
    return packs


def flip(room: IndexerPorts, key: str, at: int) -> None:
    path = room.folder / "objects" / key
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


async def test_an_archive_in_order_has_no_problems(room: IndexerPorts) -> None:
    await room.run(*[await room.put(f"p{n}", ct_slice(), ct_slice()) for n in range(6)])
    await contested(room)
    (conflict,) = await room.index.conflicts()
    await resolve(conflict.id, Keep.SECOND, objects=room.objects, index=room.index, correlation_id="test")
    duplicate = ct_slice()
    for name in ("d1", "d2"):
        await room.run(await room.put(name, duplicate))
    assert await verify(room) == []


@pytest.mark.parametrize("deep", [False, True], ids=["quick", "deep"])
async def test_lost_and_cut_objects_are_named(room: IndexerPorts, deep: bool) -> None:
    packs = [await room.put(f"p{n}", ct_slice()) for n in range(3)]
    before = [await room.put_separately(f"q{n}", ct_slice()) for n in range(4)]
    await room.run(*packs, *before)
    for lost in (packs[0].key, before[0].key, before[1].sidecar.key, before[2].key, before[2].sidecar.key):
        await room.objects.delete(lost)
    await room.objects.put(packs[1].key, (await room.objects.get(packs[1].key))[:-700])
    assert kinds(await verify(room, deep=deep)) == {
        packs[0].key: ProblemKind.PACK_LOST,
        packs[1].key: ProblemKind.PACK_LENGTH,
        before[0].key: ProblemKind.PACK_LOST,
        before[1].sidecar.key: ProblemKind.SIDECAR_LOST,
        before[2].key: ProblemKind.PACK_LOST,
    }


async def test_a_flipped_byte_is_found_by_reading_only(room: IndexerPorts) -> None:
    packs = [await room.put(f"p{n}", ct_slice(), ct_slice()) for n in range(3)]
    before = await room.put_separately("q1", ct_slice(), ct_slice())
    await room.run(*packs, before)
    flip(room, packs[0].key, 7000)
    flip(room, packs[1].key, packs[1].sidecar.offset + 300)
    flip(room, before.sidecar.key, 300)
    _, lines = sidecar.decode(await room.objects.get(*packs[2].sidecar))
    shorter = await room.replace_sidecar(packs[2], sidecar.encode(packs[2], list(lines)[:1]))
    await room.index.database.execute(
        update(tables.packs).where(tables.packs.c.pack_id == "p2").values(size=shorter.size)
    )
    assert await verify(room, deep=False) == []
    assert kinds(await verify(room)) == {
        packs[0].key: ProblemKind.INSTANCE_DAMAGED,
        packs[1].key: ProblemKind.SIDECAR_DAMAGED,
        packs[2].key: ProblemKind.SIDECAR_DAMAGED,
        before.sidecar.key: ProblemKind.SIDECAR_DAMAGED,
    }


async def test_versions_kept_aside_are_verified_too(room: IndexerPorts) -> None:
    _, second = await contested(room)
    flip(room, second.key, 7000)
    assert kinds(await verify(room)) == {second.key: ProblemKind.INSTANCE_DAMAGED}
    await room.objects.delete(second.key)
    assert kinds(await verify(room)) == {second.key: ProblemKind.PACK_LOST}


async def test_objects_without_rows_are_named_once_they_are_not_new(room: IndexerPorts) -> None:
    whole = await room.put("p1", ct_slice())
    before, no_sidecar, no_pack = [await room.put_separately(f"q{n}", ct_slice()) for n in range(3)]
    await room.objects.delete(no_sidecar.sidecar.key)
    await room.objects.delete(no_pack.key)
    await room.objects.put("notes/readme.txt", b"hello")
    await room.objects.put("conflicts/1.2.3/d1.json", b"{}")
    await room.objects.put("reconciliations/1.2.3/r1.json", b"{}")
    await room.objects.put("resources/study/1/000000000001-a.json", b"{}")
    assert await verify(room, min_age=timedelta(hours=1)) == []
    found = await verify(room)
    assert kinds(found) == {
        whole.key: ProblemKind.NOT_INDEXED,
        before.key: ProblemKind.NOT_INDEXED,
        no_sidecar.key: ProblemKind.PACK_WITHOUT_SIDECAR,
        no_pack.sidecar.key: ProblemKind.SIDECAR_WITHOUT_PACK,
        "notes/readme.txt": ProblemKind.UNKNOWN_OBJECT,
        "conflicts/1.2.3/d1.json": ProblemKind.DECISION_UNKNOWN,
        "reconciliations/1.2.3/r1.json": ProblemKind.RECONCILIATION_UNKNOWN,
        "resources/study/1/000000000001-a.json": ProblemKind.USER_DATA_UNKNOWN,
    }
    assert ADVICE.keys() == set(ProblemKind)


async def test_rows_that_the_database_lost_are_named(room: IndexerPorts) -> None:
    pack = await room.put("p1", ct_slice(), ct_slice())
    await room.run(pack)
    async with room.index.database.read() as connection:
        (row, *_) = await connection.scalars(tables.instances.select().with_only_columns(tables.instances.c.id))
    assert await room.index.database.execute(delete(tables.instances).where(tables.instances.c.id == row)) == 1
    (problem,) = await verify(room)
    assert (problem.kind, problem.key) == (ProblemKind.ROWS_MISSING, pack.key)
    assert "1 of 2" in problem.detail


async def test_only_a_study_or_what_is_behind_a_pack_can_be_verified(room: IndexerPorts) -> None:
    packs = [await room.put(f"p{n}", ct_slice()) for n in range(4)]
    await room.run(*packs)
    for pack in packs:
        await room.objects.delete(pack.key)
    assert list(kinds(await verify(room, study_uid=packs[2].study_uid))) == [packs[2].key]
    assert sorted(kinds(await verify(room, after="p1"))) == sorted([packs[2].key, packs[3].key])


async def test_repair_indexes_packs_without_rows_and_uses_other_copies(room: IndexerPorts) -> None:
    one, two, three = ct_slice(), ct_slice(), ct_slice()
    series = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
    for dataset in (two, three):
        for keyword, value in series.items():
            setattr(dataset, keyword, value)
    first, copy = await room.put("p1", one), await room.put("p2", two, one)
    lost = await room.put("p3", three)
    await room.run(first)
    await room.run(copy)
    await room.run(lost)
    waiting = await room.put("p4", ct_slice())
    await room.objects.delete(first.key)
    await room.objects.delete(lost.key)
    found = await verify(room, repair=True)
    assert {(p.kind, p.key, p.repaired) for p in found} == {
        (ProblemKind.PACK_LOST, first.key, True), (ProblemKind.PACK_LOST, lost.key, False),
    }  # fmt: skip
    assert await room.index.known_packs([waiting.pack_id])
    assert kinds(await verify(room)) == {lost.key: ProblemKind.PACK_LOST}


async def test_a_pack_that_is_indexed_or_deleted_meanwhile_raises_no_alarm(
    room: IndexerPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ct_slice()
    await room.run(await room.put("p1", dataset))
    late, redundant = await room.put("p2", ct_slice()), await room.put("p3", dataset)
    pack_rows = room.index.pack_rows

    async def after_changes(**choice: str | None) -> AsyncIterator[PackRows]:
        """The listing is complete, and no row is read yet."""
        monkeypatch.undo()
        await room.run(late)
        await room.run(redundant)
        after = await room.put("p4", ct_slice())
        await room.run(after)
        async for rows in pack_rows(**choice):
            yield rows

    monkeypatch.setattr(room.index, "pack_rows", after_changes)
    assert await verify(room) == []


async def test_streams_are_merged_in_the_order_of_their_ids() -> None:
    class Item(str):
        pack_id = property(str)

    async def stream(items: str) -> AsyncIterator[Item]:
        for item in items:
            yield Item(item)

    pairs = [pair async for pair in merged(stream("acdf"), stream("bcg"))]
    assert pairs == [("a", None), (None, "b"), ("c", "c"), ("d", None), ("f", None), (None, "g")]


def test_rows_are_sorted_on_disk_with_bounded_memory(tmp_path: Path) -> None:
    names = [os.urandom(4).hex() for _ in range(1000)]
    with ExternalSorter(run=64) as rows:
        for start in range(0, 1000, 30):
            rows.extend([name, start] for name in names[start : start + 30])
        taken = []
        while some := rows.take(70):
            assert len(some) <= 70
            taken += [name for name, _ in some]
    assert taken == sorted(names)


async def test_reading_is_held_back_to_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    pace = RateLimiter(1000)
    for _ in range(3):
        await pace.acquire(500)
    assert [round(seconds, 1) for seconds in slept] == [0.5, 1.0, 1.5]
    await RateLimiter(0).acquire(10**9)
    assert len(slept) == 3


async def test_objects_below_cache_belong_to_no_pack_and_are_no_problem(room: IndexerPorts) -> None:
    await room.run(await room.put("p1", ct_slice()))
    for key in ("cache/transcoded/a.dcm", "cache/x/y.tar", "cache/x/z.meta"):
        await room.objects.put(key, b"nothing of a pack")
    assert await verify(room) == []
