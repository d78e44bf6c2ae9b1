"""Finds packs that have objects but no rows: after a crash between the two, or for a new database."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from osteon import metrics
from osteon.bus.port import Bus
from osteon.index.port import Index
from osteon.logging import get_logger
from osteon.objects.port import ObjectInfo, ObjectNotFound, Objects
from osteon_indexer.handlers import announce, stored_pack, upsert

log = get_logger(__name__)
CHUNK = 500
"""Sidecars that are compared with the index at a time."""
BATCH = 20
"""Packs that are indexed in one transaction."""


async def sweep(
    *,
    objects: Objects,
    index: Index,
    bus: Bus | None = None,
    settled: timedelta = timedelta(minutes=5),
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Index every pack of the object store that the index does not know; return how many there were.

    Packs younger than `settled` are left alone: they may be on their way. `progress` is called with the sidecars seen
    and the packs indexed so far. Without a bus nothing is announced.
    """
    seen = indexed = 0
    before = datetime.now(UTC) - settled
    async for sidecars in _chunks(objects):
        seen += len(sidecars)
        known = await index.known_packs([_pack_id(info) for info in sidecars])
        missing = [info for info in sidecars if _pack_id(info) not in known and info.modified <= before]
        for start in range(0, len(missing), BATCH):
            indexed += await _index(missing[start : start + BATCH], objects, index, bus)
        if progress:
            progress(seen, indexed)
    if indexed:
        log.warning("packs without rows were indexed", packs=indexed)
    return indexed


async def _index(sidecars: list[ObjectInfo], objects: Objects, index: Index, bus: Bus | None) -> int:
    packs = []
    for info in sidecars:
        try:
            packs.append(stored_pack(await objects.get(info.key)))
        except ObjectNotFound:
            continue  # a redundant pack that was deleted after the listing
    outcomes = await upsert(packs, index)
    metrics.SWEPT_PACKS.inc(len(packs))
    if bus:
        for pack, outcome in zip(packs, outcomes, strict=True):
            await announce(pack.facts, outcome, objects=objects, bus=bus)
    return len(packs)


async def _chunks(objects: Objects) -> AsyncIterator[list[ObjectInfo]]:
    chunk: list[ObjectInfo] = []
    async for info in objects.list():
        if info.key.endswith(".meta"):
            chunk.append(info)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _pack_id(info: ObjectInfo) -> str:
    return PurePosixPath(info.key).stem
