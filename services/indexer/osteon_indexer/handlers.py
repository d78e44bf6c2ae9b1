"""What the indexer does with stored packs: sidecars in, rows and events out."""

import asyncio
import time
from collections.abc import Sequence

import orjson

from osteon import metrics
from osteon.bus.port import Bus
from osteon.contracts.packs import PackFacts, PackIndexed, PackStored
from osteon.dicom.attributes import held_values, request_attributes
from osteon.errors import Invalid
from osteon.index.port import Index, InstanceEntry, PackOutcome, Scope, StoredPack
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.spool import sidecar

log = get_logger(__name__)


class PackMissing(Invalid):
    """A pack was announced, but the object store has no sidecar of it and the index does not know it."""


async def index_packs(messages: Sequence[PackStored], *, objects: Objects, index: Index, bus: Bus) -> None:
    """Index a batch of packs in one transaction, then announce each; the objects of redundant packs are deleted."""
    unique = {message.pack_id: message for message in messages}
    packs = await asyncio.gather(*(_load(message, objects, index) for message in unique.values()))
    for pack, outcome in zip(packs, await upsert(packs, index), strict=True):
        await announce(pack, outcome, objects=objects, index=index, bus=bus)


async def upsert(packs: Sequence[StoredPack], index: Index) -> Sequence[PackOutcome]:
    """Write one transaction and count it."""
    with metrics.INDEX_SECONDS.time():
        return await index.upsert(packs)


async def announce(pack: StoredPack, outcome: PackOutcome, *, objects: Objects, index: Index, bus: Bus) -> None:
    """Publish `PackIndexed`, after deleting a redundant pack: its bytes are in other packs."""
    facts = pack.facts
    if outcome.redundant and await _is_held_elsewhere(pack, objects, index):
        await objects.delete(facts.sidecar_key)
        await objects.delete(facts.key)
    counts = {"stored": outcome.stored, "duplicates": outcome.duplicates, "conflicts": outcome.conflicts}
    await bus.publish(PackIndexed(**facts.model_dump(include=set(PackFacts.model_fields)), **counts))
    for state, count in counts.items():
        metrics.INDEXED_INSTANCES.labels(state).inc(count)
    metrics.LAG_SECONDS.observe(max(0.0, time.time() - facts.received_at.timestamp()))
    log.info("pack indexed", pack=facts.pack_id, correlation_id=facts.correlation_id, **counts)


async def _is_held_elsewhere(pack: StoredPack, objects: Objects, index: Index) -> bool:
    """Look before the one step that can not be undone: the store may have lost what the rows refer to."""
    ends: dict[str, int] = {}
    uids = tuple(entry.identity.sop_uid for entry in pack.instances)
    if uids:  # else the sidecar went first, in a deletion that was interrupted
        async for place in index.locate(Scope(sop_uids=uids)):
            ends[place.key] = max(ends.get(place.key, 0), place.offset + place.length)
    for key, end in ends.items():
        try:
            whole = await objects.size(key) >= end
        except ObjectNotFound:
            whole = False
        if not whole:
            log.error("redundant pack kept: the other copy is not in the object store", pack=pack.facts.pack_id,
                      lost=key)  # fmt: skip
            return False
    return True


async def _load(message: PackStored, objects: Objects, index: Index) -> StoredPack:
    try:
        data = await objects.get(message.sidecar_key)
    except ObjectNotFound:
        if await index.known_packs([message.pack_id]):
            return StoredPack(message, ())
        raise PackMissing(
            f"no sidecar {message.sidecar_key} for pack {message.pack_id}; if its file is still in a spool, do two "
            "spools share an OSTEON_SPOOL_ID?"
        ) from None
    return await asyncio.to_thread(stored_pack, data, message)


def stored_pack(data: bytes, message: PackStored | None = None) -> StoredPack:
    """Turn a sidecar into what the index needs, under the facts of `message` or, without one, of its heading line.

    Raises `BadSidecar`, also when instances are missing: zstd does not tell that its input was cut.
    """
    facts, lines = sidecar.decode(data)
    entries = [_entry(line) for line in lines]
    if len(entries) != facts.instances:
        raise sidecar.BadSidecar(f"pack {facts.pack_id} has {facts.instances} instances, its sidecar {len(entries)}")
    return StoredPack(message or facts, entries)


def _entry(line: sidecar.SidecarLine) -> InstanceEntry:
    header = orjson.loads(line.header.json)
    return InstanceEntry(
        identity=line.identity,
        transfer_syntax_uid=line.transfer_syntax_uid,
        offset=line.offset,
        length=line.length,
        sha256=line.sha256,
        attributes=held_values(header),
        requests=request_attributes(header),
    )
