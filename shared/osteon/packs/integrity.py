"""Whether the object store has what the index says: packs of the right length, data sets with their SHA-256."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from osteon.archive.pack_records import PackRows
from osteon.archive.resources import Location
from osteon.contracts.packs import SidecarPlace
from osteon.errors import Invalid, NotFound
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs import sidecar


class DefectKind(StrEnum):
    """A kind of defect of a pack that has rows."""

    PACK_LOST = "pack-lost"
    PACK_LENGTH = "pack-length"
    SIDECAR_LOST = "sidecar-lost"
    SIDECAR_DAMAGED = "sidecar-damaged"
    INSTANCE_DAMAGED = "instance-damaged"


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect of the object `key`."""

    kind: DefectKind
    key: str
    detail: str


Digests = Mapping[int, tuple[int, bytes]]
"""By offset of the instance in its pack: where the data set begins behind it, and its SHA-256."""


async def object_size(key: str, objects: Objects) -> int | None:
    """Return the length of an object, None when there is none."""
    try:
        return await objects.size(key)
    except ObjectNotFound:
        return None


async def pack_defect(row: PackRows, sizes: Mapping[str, int], objects: Objects) -> Defect | None:
    """Return what is wrong with the objects of a pack; sizes come from `sizes` of a listing, else from the store."""
    size = sizes.get(row.key)
    if size != row.size:
        size = await object_size(row.key, objects)
    if size is None:
        return Defect(DefectKind.PACK_LOST, row.key, f"{row.instances + row.aside} rows refer to it")
    if size != row.size:
        return Defect(DefectKind.PACK_LENGTH, row.key, f"it has {size} bytes, the index says {row.size}")
    beside = row.sidecar.key
    if beside != row.key and not sizes.get(beside) and not await object_size(beside, objects):
        return Defect(DefectKind.SIDECAR_LOST, beside, f"{row.instances + row.aside} rows refer to it")
    return None


async def read_digests(place: SidecarPlace, objects: Objects) -> Digests:
    """Read a sidecar; raises `ObjectNotFound` and `BadSidecar`."""
    return await asyncio.to_thread(_lines, await objects.get(*place))


def _lines(data: bytes) -> dict[int, tuple[int, bytes]]:
    facts, lines = sidecar.decode(data)
    try:
        found = {line.offset: (line.dataset_offset, line.sha256) for line in lines}
    except sidecar.BadSidecar:
        raise
    except Exception as error:  # a flipped byte can lead to any error
        raise sidecar.BadSidecar(f"{type(error).__name__}: {error}") from None
    if len(found) != facts.instances:
        raise sidecar.BadSidecar(f"it has {len(found)} of {facts.instances} instances")
    return found


async def instance_defect(
    member: Location, lines: Digests, objects: Objects, on_read: Callable[[int], Awaitable[None]]
) -> Defect | None:
    """Read an instance back in chunks and return what is wrong; `on_read` is awaited with the length of each chunk."""
    what = f"instance {member.identity.sop_uid} at byte {member.offset}"
    dataset, sha256 = lines.get(member.offset, (0, b""))
    if sha256 != member.sha256:
        return Defect(DefectKind.SIDECAR_DAMAGED, member.sidecar.key, f"{what} has another line than its row says")
    digest = hashlib.sha256()
    try:
        async for chunk in objects.stream(member.key, member.offset + dataset, member.length - dataset):
            await on_read(len(chunk))
            await asyncio.to_thread(digest.update, chunk)
    except (NotFound, Invalid) as error:
        return Defect(DefectKind.INSTANCE_DAMAGED, member.key, f"{what}: {error}")
    if digest.digest() != member.sha256:
        return Defect(DefectKind.INSTANCE_DAMAGED, member.key, f"{what}: its SHA-256 is not the one in the index")
    return None
