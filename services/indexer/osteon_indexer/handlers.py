"""What the indexer does with stored packs: sidecars in, rows and events out."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol

from osteon import metrics
from osteon.archive.conflicts import ConflictingVersions
from osteon.archive.pack_records import PackOutcome, StoredPack
from osteon.archive.ports import IndexWriter, InstanceLocator, PackOutcomes
from osteon.archive.resources import InstanceScope
from osteon.bus.port import Bus
from osteon.contracts.packs import ConflictsFound, PackIndexed, PackStored, SidecarPlace, StoredPackFacts
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs.index_entries import read_stored_pack
from osteon.reconciliation.port import Reconciliations
from osteon.user_data.port import UserDataStore
from osteon_indexer.comparison import VersionComparer

log = get_logger(__name__)


class PackIndex(IndexWriter, InstanceLocator, ConflictingVersions, Protocol):
    """The index as a new pack needs it: written, and searched for other packs with the same instances."""

    @property
    def reconciliations(self) -> Reconciliations:
        """See `Index`."""

    @property
    def user_data(self) -> UserDataStore:
        """See `Index`."""


class PackMissing(Invalid):
    """A pack was published, but the object store has no sidecar of it and the index does not know it."""


async def index_packs(messages: Sequence[PackStored], *, objects: Objects, index: PackIndex, bus: Bus) -> None:
    """Index a batch of packs in one transaction, then conclude each."""
    unique = {message.pack_id: message for message in messages}
    packs = await asyncio.gather(*(_load(message, objects, index) for message in unique.values()))
    for pack, outcome in zip(packs, await upsert(packs, index), strict=True):
        await conclude(pack, outcome, objects=objects, index=index, bus=bus)


async def compare_conflicts(
    message: ConflictsFound, *, objects: Objects, index: PackIndex, bus: Bus, comparer: VersionComparer
) -> None:
    """Compare the conflicts of an indexed pack, then announce it."""
    pack = await _load(PackStored(**message.model_dump()), objects, index)
    (outcome,) = await index.upsert([pack])
    await announce(pack, await settle(pack, outcome, objects=objects, index=index, comparer=comparer), bus=bus)


async def conclude(pack: StoredPack, outcome: PackOutcome, *, objects: Objects, index: PackIndex, bus: Bus) -> None:
    """Announce an indexed pack; one with conflicts is handed on to be compared first.

    That may take minutes: the packs behind it do not wait, and what a crash interrupts is in the queue.
    """
    if outcome.conflicts:
        await bus.publish(ConflictsFound(**_facts(pack)))
        return
    await announce(pack, await settle(pack, outcome, objects=objects, index=index), bus=bus)


async def upsert(packs: Sequence[StoredPack], index: IndexWriter) -> Sequence[PackOutcome]:
    """Write packs into the index in one transaction, and measure it."""
    metrics.INDEX_BATCH_PACKS.observe(len(packs))
    with metrics.INDEX_SECONDS.time():
        return await index.upsert(packs)


async def settle(
    pack: StoredPack,
    outcome: PackOutcome,
    *,
    objects: Objects,
    index: PackIndex,
    comparer: VersionComparer | None = None,
) -> PackOutcome:
    """Compare the conflicts of an indexed pack, and delete it when it is redundant: other packs say the same.

    When the object store has lost one of those, this pack takes its place.
    """
    if outcome.duplicates or outcome.conflicts:
        outcome = await _repoint(pack, outcome, objects, index)
    if comparer:
        outcome = await comparer.compare(pack, outcome, index)
    if outcome.redundant:
        for key in dict.fromkeys((pack.facts.sidecar.key, pack.facts.key)):
            await objects.delete(key)
    return outcome


async def announce(pack: StoredPack, outcome: PackOutcome, *, bus: Bus) -> None:
    """Publish `PackIndexed`, and count."""
    facts = pack.facts
    counts = {"stored": outcome.stored, "duplicates": outcome.duplicates, "conflicts": outcome.conflicts}
    await bus.publish(PackIndexed(**_facts(pack), stored=outcome.stored))
    log.info("pack indexed", pack=facts.pack_id, correlation_id=facts.correlation_id, **counts)
    if facts.reconciled_by:
        return  # it came before, under other attributes
    for state, count in counts.items():
        metrics.INDEXED_INSTANCES.labels(state).inc(count)
    for modality, count in Counter(entry.attributes.get("Modality", "") for entry in pack.instances).items():
        metrics.MODALITY_INSTANCES.labels(*metrics.SENDERS(facts.calling_aet, modality)).inc(count)
    metrics.INGEST_LAG_SECONDS.observe(max(0.0, time.time() - facts.received_at.timestamp()))


def _facts(pack: StoredPack) -> dict[str, Any]:
    return pack.facts.model_dump(include=set(StoredPackFacts.model_fields))


async def _repoint(pack: StoredPack, outcome: PackOutcome, objects: Objects, index: PackIndex) -> PackOutcome:
    """Check before the one step that cannot be undone: the store may have lost what the rows refer to."""
    lost = await lost_packs(pack, objects, index)
    if not lost:
        return outcome
    log.error("packs missing in the object store, rows repointed", pack=pack.facts.pack_id, lost=lost)
    return await index.repoint(pack, lost)


async def lost_packs(pack: StoredPack, objects: Objects, index: PackIndex) -> list[str]:
    """Return the ids of other packs that should have instances of `pack`, and are not in the store or too short."""
    ends: dict[str, int] = {}
    sidecars: dict[str, SidecarPlace] = {}
    uids = tuple(entry.identity.sop_uid for entry in pack.instances)
    if uids:  # else the pack is gone, or its sidecar alone: a deletion was interrupted after it
        served = [place async for place in index.locate(InstanceScope(sop_uids=uids))]
        for place in (*served, *await index.conflicting_versions(uids)):
            ends[place.key] = max(ends.get(place.key, 0), place.offset + place.length)
            sidecars[place.key] = place.sidecar
    ends.pop(pack.facts.key, None)
    return [PurePosixPath(k).stem for k, end in ends.items() if not await _is_complete(k, end, sidecars[k], objects)]


async def _is_complete(key: str, end: int, sidecar: SidecarPlace, objects: Objects) -> bool:
    try:
        size = await objects.size(key)
        return size >= end and (size if sidecar.key == key else await objects.size(sidecar.key)) > sidecar.offset
    except ObjectNotFound:
        return False


async def _load(message: PackStored, objects: Objects, index: PackOutcomes) -> StoredPack:
    try:
        data = await objects.get(*message.sidecar)
    except ObjectNotFound:
        if await index.known_packs([message.pack_id]):
            return StoredPack(message, ())
        raise PackMissing(
            f"no sidecar in {message.sidecar.key} of pack {message.pack_id}; if its file is still in a spool, do two "
            "spools share an OSTEON_SPOOL_ID?"
        ) from None
    return await asyncio.to_thread(read_stored_pack, data, message)
