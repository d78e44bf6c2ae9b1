"""Packs that jobs make: into the object store, announced, and indexed before the job goes on."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from osteon.archive.ports import PackOutcomes
from osteon.bus.port import Bus
from osteon.contracts.packs import Origin, PackStored
from osteon.dicom.header.reader import HeaderReader
from osteon.errors import Unavailable
from osteon.objects.port import Objects
from osteon.packs import sidecar
from osteon.packs.ids import new_pack_id
from osteon.packs.pack_writer import Part10File, write_pack
from osteon.packs.upload import store_pack

_INDEX_SECONDS: Final = 120.0
"""For how long a pack may wait to be indexed; then the job is tried again."""
_FIRST_POLL_SECONDS, _MAX_POLL_SECONDS = 0.02, 1.0


class IndexLate(Unavailable):
    """A pack was stored, and is not indexed yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPack:
    """What is known of a pack before it is made; see `PackFacts`."""

    correlation_id: str
    study_uid: str
    series_uid: str
    origin: Origin
    received_at: datetime
    calling_aet: str = ""
    remote_host: str = ""
    reconciled_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackDelivery:
    """Stores packs of files of one series."""

    index: PackOutcomes
    objects: Objects
    bus: Bus
    reader: HeaderReader = field(default_factory=HeaderReader)

    async def store(self, pack: NewPack, files: Sequence[Part10File], folder: Path) -> str:
        """Write a pack in `folder`, store and announce it; returns its id. Raises `Unavailable` and `CorruptMember`."""
        pack_id = new_pack_id()
        tar = folder / f"{pack_id}.tar"
        written = await asyncio.to_thread(write_pack, tar, files, received_at=pack.received_at)
        facts = PackStored(**asdict(pack), pack_id=pack_id, instances=written.instances, size=written.size)
        built = asyncio.to_thread(sidecar.build, tar, facts, self.reader)
        await self.bus.publish(await store_pack(tar, facts, built, self.objects))
        await asyncio.to_thread(tar.unlink, missing_ok=True)
        return pack_id

    async def wait_for_index(self, pack_id: str) -> None:
        """Wait until a pack is indexed; raises `IndexLate`."""
        deadline, pause = time.monotonic() + _INDEX_SECONDS, _FIRST_POLL_SECONDS
        while not await self.index.known_packs([pack_id]):
            if time.monotonic() > deadline:
                raise IndexLate(f"pack {pack_id} was not indexed within {_INDEX_SECONDS:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_POLL_SECONDS)
