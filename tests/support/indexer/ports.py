"""The ports of an indexer, packs put into them as the writer does, and the events that come out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset
from typing_extensions import override

from osteon.bus.memory import MemoryBus
from osteon.contracts.base import Message
from osteon.contracts.packs import ConflictsFound, PackIndexed, PackStored
from osteon.contracts.topology import COMPARISONS
from osteon.dicom.header.reader import HeaderReader
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.packs import sidecar
from osteon.packs.sidecar_member import TailWriter
from osteon.packs.tar import BLOCK
from osteon.packs.upload import store_pack
from osteon_indexer.comparison import VersionComparer
from osteon_indexer.handlers import compare_conflicts, index_packs
from support.index.stored_packs import sqlite_url
from support.packs.sealed_packs import sealed_pack, separate_sidecar


class ComparisonsBus(MemoryBus):
    """A bus that notes which packs are to be compared."""

    waiting: set[str]

    @override
    async def publish(self, message: Message) -> None:
        if isinstance(message, ConflictsFound):
            self.waiting.add(message.pack_id)
        await super().publish(message)


@dataclass
class IndexerPorts:
    """The ports, and the events seen."""

    folder: Path
    bus: MemoryBus
    objects: FolderObjects
    index: SqlIndex
    indexed: list[PackIndexed]
    comparer: VersionComparer
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    waiting: set[str] = field(default_factory=set)
    """Packs whose conflicts are to be compared."""

    async def put(self, pack_id: str, *instances: Dataset | bytes) -> PackStored:
        """Store a pack, of data sets or Part 10 files, as the writer does."""
        sealed = sealed_pack(self.folder / "spool", pack_id, instances)
        facts = PackStored.model_validate(sealed.model_dump())
        path = self.folder / "spool" / sealed.path
        return await store_pack(
            path, facts, asyncio.to_thread(sidecar.build, path, facts, HeaderReader()), self.objects
        )

    async def put_separately(self, pack_id: str, *instances: Dataset | bytes) -> PackStored:
        """Store a pack with its sidecar in an object of its own, as release 0.1 did."""
        sealed = sealed_pack(self.folder / "spool", pack_id, instances)
        stored = PackStored.model_validate(sealed.model_dump())
        path = self.folder / "spool" / sealed.path
        await self.objects.put_file(stored.key, path)
        await self.objects.put(stored.sidecar.key, separate_sidecar(path, stored))
        return stored

    async def replace_sidecar(self, pack: PackStored, data: bytes) -> PackStored:
        """Put other bytes in the place of a sidecar, as the object's last; returns the facts of the pack then."""
        whole = await self.objects.get(pack.key)
        writer = TailWriter()
        writer.write(data)
        tail = writer.finish(pack.pack_id, pack.sidecar.offset - BLOCK, 0)
        await self.objects.put(pack.key, whole[: tail.start] + tail.data)
        return pack.model_copy(update={"size": tail.size})

    async def run(self, *packs: PackStored) -> None:
        """Index a batch, and compare its conflicts."""
        await self.index_only(*packs)
        async with self.changed:
            await self.changed.wait_for(lambda: not self.waiting)

    async def index_only(self, *packs: PackStored) -> None:
        """Index a batch."""
        await index_packs(packs, objects=self.objects, index=self.index, bus=self.bus)

    async def until_announced(self, *pack_ids: str) -> None:
        """Wait until packs were announced."""
        async with self.changed:
            await self.changed.wait_for(lambda: set(pack_ids) <= {event.pack_id for event in self.indexed})

    async def compare(self, message: ConflictsFound) -> None:
        """Compare as the service does."""
        try:
            await compare_conflicts(
                message, objects=self.objects, index=self.index, bus=self.bus, comparer=self.comparer
            )
        finally:
            async with self.changed:
                self.waiting.discard(message.pack_id)
                self.changed.notify_all()

    async def instances(self) -> int:
        """Count the rows."""
        return (await self.index.statistics()).instances

    async def keys(self) -> list[str]:
        """Return the keys of all objects."""
        return [info.key async for info in self.objects.list()]


@asynccontextmanager
async def indexer_room(folder: Path, *, newest: bool = False) -> AsyncIterator[IndexerPorts]:
    """Make a room below `folder`, with an empty SQLite index that serves the first or the newest version."""
    bus, index = ComparisonsBus(), SqlIndex(sqlite_url(folder / "index.sqlite"), newest=newest)
    await bus.start()
    await index.start()
    objects = FolderObjects(folder / "objects")
    room = IndexerPorts(folder, bus, objects, index, [], VersionComparer(objects, bus, timeout=30))

    async def note(message: PackIndexed) -> None:
        room.indexed.append(message)
        async with room.changed:
            room.changed.notify_all()

    bus.waiting = room.waiting
    await bus.subscribe(PackIndexed, note)
    await bus.consume(COMPARISONS, room.compare)
    yield room
    await bus.close()
    await index.close()
