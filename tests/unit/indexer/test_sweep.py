"""The sweep finds every pack without rows, whatever lies beside it."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest

from osteon.archive.resources import InstanceScope
from osteon.objects.port import ObjectsUnavailable
from osteon.packs import sidecar_member
from osteon_indexer.build import sweep_forever
from osteon_indexer.sweep import sweep
from support.dicom.datasets import ct_slice
from support.indexer.ports import IndexerPorts


async def look(room: IndexerPorts, min_age: timedelta = timedelta(0)) -> int:
    return await sweep(objects=room.objects, index=room.index, bus=room.bus, min_age=min_age)


async def test_the_sweep_indexes_packs_without_rows_and_only_those(room: IndexerPorts) -> None:
    known, unknown = await room.put("p1", ct_slice()), await room.put("p2", ct_slice())
    await room.run(known)
    assert await look(room, timedelta(hours=1)) == 0
    assert await look(room) == 1
    assert await look(room) == 0
    await room.bus.close()
    assert [e.pack_id for e in room.indexed] == [known.pack_id, unknown.pack_id]
    assert await room.instances() == 2


@pytest.mark.parametrize("content", [b"nothing that Osteon wrote", None])
async def test_a_sidecar_that_cannot_be_used_does_not_hide_the_packs_behind_it(
    room: IndexerPorts, content: bytes | None
) -> None:
    packs = sorted([await room.put(f"p{n}", ct_slice()) for n in range(3)], key=lambda pack: pack.key)
    if content is None:
        await room.objects.put(packs[0].key, (await room.objects.get(packs[0].key))[:-1])
    else:
        await room.replace_sidecar(packs[0], content)
    assert await look(room) == 2
    assert await room.instances() == 2


async def test_a_pack_that_the_index_refuses_does_not_hide_the_others(
    room: IndexerPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.put("bad", ct_slice())
    for n in range(3):
        await room.put(f"p{n}", ct_slice())
    upsert = room.index.upsert

    async def refusing(packs):
        if any(pack.facts.pack_id == "bad" for pack in packs):
            raise RuntimeError("a value that no column takes")
        return await upsert(packs)

    monkeypatch.setattr(room.index, "upsert", refusing)
    assert await look(room) == 3
    assert await room.instances() == 3


async def test_a_sweep_stops_when_a_part_is_down(room: IndexerPorts, monkeypatch: pytest.MonkeyPatch) -> None:
    await room.put("p1", ct_slice())

    async def down(key: str, offset: int = 0) -> bytes:
        raise ObjectsUnavailable("down")

    monkeypatch.setattr(room.objects, "get", down)
    with pytest.raises(ObjectsUnavailable):
        await look(room)


async def test_a_pack_from_a_clock_that_ran_ahead_is_swept(room: IndexerPorts, tmp_path: Path) -> None:
    pack = await room.put("p1", ct_slice())
    os.utime(tmp_path / "objects" / pack.key, (4e9, 4e9))
    assert await look(room, timedelta(hours=1)) == 1


async def test_a_sweep_of_a_pack_that_is_being_indexed_changes_nothing(room: IndexerPorts) -> None:
    dataset = ct_slice()
    first, again = await room.put("p1", dataset), await room.put("p2", dataset)
    await look(room)
    await room.run(first, again)
    await look(room)
    assert await room.instances() == 1
    (kept,) = [location async for location in room.index.locate(InstanceScope())]
    assert await room.keys() == [kept.key]


async def test_a_sweep_that_met_a_part_that_is_down_is_begun_again_soon() -> None:
    looked = asyncio.Event()
    answers = iter([ObjectsUnavailable("down"), None])

    async def look() -> int:
        if error := next(answers):
            raise error
        looked.set()
        return 0

    sweeper = asyncio.create_task(sweep_forever(1.0, look, retry=0.0))
    async with asyncio.timeout(20):
        await looked.wait()
    sweeper.cancel()


async def test_what_is_below_cache_is_not_swept_up(room: IndexerPorts, caplog: pytest.LogCaptureFixture) -> None:
    pack = await room.put("p1", ct_slice())
    await room.objects.put("cache/x/p1.tar", await room.objects.get(pack.key))
    await room.objects.delete(pack.key)
    assert await look(room) == 0


@pytest.mark.parametrize("beside", [False, True], ids=["in the pack", "beside it"])
async def test_a_swept_pack_has_the_same_row_as_one_that_was_announced(room: IndexerPorts, beside: bool) -> None:
    put = room.put_separately if beside else room.put
    swept, announced = await put("p1", ct_slice()), await put("p2", ct_slice())
    await room.run(announced)
    assert await look(room) == 1
    rows = {row.pack_id: (row.size, row.sidecar) async for row in room.index.pack_rows()}
    assert rows == {pack.pack_id: (pack.size, pack.sidecar) for pack in (swept, announced)}


async def test_a_sidecar_longer_than_what_is_read_from_the_end_is_read_whole(
    room: IndexerPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar_member, "_TAIL", 2048)
    pack = await room.put("p1", *(ct_slice() for _ in range(40)))
    assert pack.size - pack.sidecar.offset > 2048
    get, reads = room.objects.get, []

    async def counted(key: str, offset: int = 0) -> bytes:
        reads.append((key, offset))
        return await get(key, offset)

    monkeypatch.setattr(room.objects, "get", counted)
    assert await look(room) == 1
    assert reads == [(pack.key, pack.size - 2048), (pack.key, pack.sidecar.offset)]
    assert await room.instances() == 40


async def test_a_pack_is_found_by_one_read_from_its_end(room: IndexerPorts, monkeypatch: pytest.MonkeyPatch) -> None:
    await room.put("p1", ct_slice())
    get, reads = room.objects.get, []

    async def counted(key: str, offset: int = 0) -> bytes:
        reads.append(key)
        return await get(key, offset)

    monkeypatch.setattr(room.objects, "get", counted)
    assert await look(room) == 1
    assert len(reads) == 1
