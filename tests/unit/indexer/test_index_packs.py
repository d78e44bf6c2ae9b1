"""The indexer turns stored packs into rows, again and again to the same effect."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from osteon.dicom.reader import HeaderReader
from osteon.index.sql import SqlIndex
from pydicom import Dataset

from osteon.bus.memory import MemoryBus
from osteon.contracts.packs import PackIndexed, PackStored
from osteon.objects.folder import FolderObjects
from osteon.spool import sidecar
from osteon_indexer.handlers import PackMissing, index_packs
from osteon_indexer.sweep import sweep
from support.make import ct_slice
from support.packs import sealed_pack


@dataclass
class Room:
    """The ports, and the events seen."""

    folder: Path
    bus: MemoryBus
    objects: FolderObjects
    index: SqlIndex
    indexed: list[PackIndexed]

    async def put(self, pack_id: str, *datasets: Dataset) -> PackStored:
        """Store a pack as the writer does."""
        sealed = sealed_pack(self.folder / "spool", pack_id, list(datasets))
        stored = PackStored.model_validate(sealed.model_dump())
        path = self.folder / "spool" / sealed.path
        await self.objects.put_file(stored.key, path)
        await self.objects.put(stored.sidecar_key, sidecar.build(path, stored, HeaderReader())[0])
        return stored

    async def run(self, *packs: PackStored) -> None:
        """Index a batch."""
        await index_packs(packs, objects=self.objects, index=self.index, bus=self.bus)

    async def instances(self) -> int:
        """Count the rows."""
        return (await self.index.statistics()).instances


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    bus, index = MemoryBus(), SqlIndex(f"sqlite+aiosqlite:///{tmp_path / 'index.sqlite'}")
    await bus.start()
    await index.start()
    room = Room(tmp_path, bus, FolderObjects(tmp_path / "objects"), index, [])

    async def note(message: PackIndexed) -> None:
        room.indexed.append(message)

    await bus.subscribe(PackIndexed, note)
    yield room
    await bus.close()
    await index.close()


async def test_a_batch_becomes_rows_and_events(room: Room) -> None:
    first, second = await room.put("p1", ct_slice(), ct_slice()), await room.put("p2", ct_slice())
    await room.run(first, second)
    await room.bus.close()
    assert await room.instances() == 3
    assert {(e.pack_id, e.stored, e.correlation_id) for e in room.indexed} == {
        ("p1", 2, "test-p1"),
        ("p2", 1, "test-p2"),
    }


async def test_the_same_pack_again_changes_nothing_and_is_announced_alike(room: Room) -> None:
    pack = await room.put("p1", ct_slice())
    await room.run(pack)
    await room.run(pack, pack)
    await room.bus.close()
    assert await room.instances() == 1
    assert [e.stored for e in room.indexed] == [1, 1]
    assert await room.objects.size(pack.key) == pack.size


async def test_a_pack_of_known_instances_only_is_deleted_and_can_be_delivered_again(room: Room) -> None:
    dataset = ct_slice()
    first = await room.put("p1", dataset)
    await room.run(first)
    again = await room.put("p2", dataset)
    await room.run(again)
    await room.run(again)
    await room.bus.close()
    assert [(e.pack_id, e.stored, e.duplicates) for e in room.indexed] == [("p1", 1, 0), ("p2", 0, 1), ("p2", 0, 1)]
    assert [info.key async for info in room.objects.list()] == sorted([first.key, first.sidecar_key])


async def test_other_bytes_under_a_known_uid_are_kept_aside(room: Room) -> None:
    first, second = ct_slice(), ct_slice(number=2)
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    kept, aside = await room.put("p1", first), await room.put("p2", second)
    await room.run(kept)
    await room.run(aside)
    (conflict,) = await room.index.conflicts()
    assert (conflict.kept.key, conflict.other.key) == (kept.key, aside.key)
    assert await room.objects.size(aside.key) == aside.size


async def test_a_pack_without_objects_is_an_error_that_names_it(room: Room) -> None:
    pack = await room.put("p1", ct_slice())
    await room.objects.delete(pack.sidecar_key)
    with pytest.raises(PackMissing, match="p1"):
        await room.run(pack)


async def test_the_sweep_indexes_packs_without_rows_and_only_those(room: Room) -> None:
    known, unknown = await room.put("p1", ct_slice()), await room.put("p2", ct_slice())
    await room.run(known)
    ports = {"objects": room.objects, "index": room.index, "bus": room.bus}
    assert await sweep(**ports, settled=timedelta(hours=1)) == 0
    assert await sweep(**ports, settled=timedelta(0)) == 1
    assert await sweep(**ports, settled=timedelta(0)) == 0
    await room.bus.close()
    assert [e.pack_id for e in room.indexed] == [known.pack_id, unknown.pack_id]
    assert await room.instances() == 2
