"""Finds packs that have objects but no rows: after a crash between the two, or for a new database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from osteon import metrics
from osteon.archive.pack_records import StoredPack
from osteon.archive.ports import PackOutcomes
from osteon.bus.port import Bus
from osteon.chunking import in_chunks
from osteon.conflicts import apply_decisions
from osteon.errors import Unavailable
from osteon.logging import get_logger
from osteon.objects.keys import CACHE
from osteon.objects.port import ObjectInfo, ObjectNotFound, Objects
from osteon.packs.index_entries import find_stored_pack
from osteon.packs.integrity import object_size
from osteon.reconciliation.requests import restore_records
from osteon.user_data.records import restore_user_data
from osteon_indexer.comparison import VersionComparer
from osteon_indexer.external_sort import ExternalSorter
from osteon_indexer.handlers import PackIndex, conclude, settle, upsert

log = get_logger(__name__)
CHUNK = 500
"""Packs that are compared with the index at a time."""
BATCH = 20
"""Packs that are indexed in one transaction."""


async def sweep(
    *,
    objects: Objects,
    index: PackIndex,
    bus: Bus | None = None,
    comparer: VersionComparer | None = None,
    min_age: timedelta = timedelta(minutes=5),
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Index every pack of the object store that the index does not know; return how many there were.

    They are indexed in the order of their ids, which is that of arrival, so that a rebuilt index equals the old one.
    Reconciliations are noted and decisions on conflicts are applied first. Packs younger than `min_age` are skipped:
    they may be on their way, and would be indexed twice, which is harmless. What cannot be indexed is logged and
    skipped. `progress` is called with the packs found and indexed so far. Without a bus nothing is published.
    Conflicts that were not compared yet are, too: what decodes pixel data may have been down when they came.
    """
    comparer = comparer or VersionComparer(objects)
    await restore_records(objects=objects, reconciliations=index.reconciliations)
    await apply_decisions(objects=objects, index=index)
    await restore_user_data(objects=objects, store=index.user_data, min_age=min_age)
    found = indexed = 0
    with ExternalSorter() as missing:
        async for packs in in_chunks(_packs(objects), CHUNK):
            found += len(packs)
            rows = await _without_rows(packs, index, min_age)
            await asyncio.to_thread(missing.extend, rows)
            if progress:
                progress(found, indexed)
        while batch := await asyncio.to_thread(missing.take, BATCH):
            read = await asyncio.gather(*(_read(key, size, objects) for _, key, size in batch))
            if readable := [pack for pack in read if pack]:
                indexed += await _index(readable, objects, index, bus, comparer)
            if progress:
                progress(found, indexed)
    await _compare_again(objects, index, comparer)
    if indexed:
        log.warning("packs without rows were indexed", packs=indexed)
    return indexed


async def _without_rows(packs: list[ObjectInfo], index: PackOutcomes, min_age: timedelta) -> list[list[str | int]]:
    """Return (pack id, key, length) of the packs that the index lacks."""
    now = datetime.now(UTC)
    known = await index.known_packs([_pack_id(info) for info in packs])
    # The absolute difference: the clock of the store may have been far ahead once.
    missing = [i for i in packs if _pack_id(i) not in known and abs(now - i.modified) >= min_age]
    return [[_pack_id(info), info.key, info.size] for info in missing]


async def _read(key: str, size: int, objects: Objects) -> StoredPack | None:
    """Return a pack as its sidecar says it, or None when that is unusable: the others must still be indexed."""
    try:
        return await find_stored_pack(key, size, objects)
    except Unavailable:
        raise
    except ObjectNotFound as error:
        log.warning("pack not indexed: deleted meanwhile, or never complete", pack=key, error=str(error))
    except Exception as error:
        log.error("pack not indexed: its sidecar cannot be read", pack=key, error=str(error))
    return None


async def _compare_again(objects: Objects, index: PackIndex, comparer: VersionComparer) -> None:
    """Compare the conflicts that were not yet, pack by pack."""
    after = 0
    while found := await index.uncompared(after=after, limit=CHUNK):
        after = found[-1].id
        for key in dict.fromkeys(each.aside.location.key for each in found):
            size = await object_size(key, objects)
            if size is not None and (pack := await _read(key, size, objects)):
                outcome = await index.note_comparisons(pack, ())
                await settle(pack, outcome, objects=objects, index=index, comparer=comparer)


async def _index(
    packs: Sequence[StoredPack], objects: Objects, index: PackIndex, bus: Bus | None, comparer: VersionComparer
) -> int:
    """Index packs together or, when that fails, one by one; return how many were indexed."""
    try:
        outcomes = await upsert(packs, index)
    except Unavailable:
        raise
    except Exception as error:
        if len(packs) > 1:
            return sum([await _index([pack], objects, index, bus, comparer) for pack in packs])
        log.error("pack not indexed", pack=packs[0].facts.pack_id, exc_info=error)
        return 0
    metrics.SWEPT_PACKS.inc(len(packs))
    for pack, outcome in zip(packs, outcomes, strict=True):
        if bus:
            await conclude(pack, outcome, objects=objects, index=index, bus=bus)
        else:
            await comparer.compare(pack, outcome, index)
    return len(packs)


async def _packs(objects: Objects) -> AsyncIterator[ObjectInfo]:
    async for info in objects.list():
        if info.key.endswith(".tar") and not info.key.startswith(CACHE):
            yield info


def _pack_id(info: ObjectInfo) -> str:
    return PurePosixPath(info.key).stem
