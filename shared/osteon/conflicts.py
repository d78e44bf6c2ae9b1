"""Deciding about conflicts: first an object beside the packs, then rows, so that no decision is lost with the index."""

import asyncio
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

from pydantic import ValidationError

from osteon import metrics
from osteon.archive.conflicts import Conflict, ConflictingVersions
from osteon.archive.pack_records import StoredPack
from osteon.archive.resources import Location
from osteon.chunking import in_chunks
from osteon.contracts.conflicts import PREFIX, ConflictDecided, Keep
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs import sidecar
from osteon.packs.ids import new_pack_id
from osteon.packs.index_entries import to_entry

log = get_logger(__name__)
_CHUNK: Final = 500


async def resolve(
    conflict_id: int, keep: Keep, *, objects: Objects, index: ConflictingVersions, correlation_id: str
) -> Conflict:
    """Serve the first or the second version, and keep the other one unserved; returns the conflict afterwards.

    Repeating the last decision changes nothing. Raises `ResourceNotFound`.
    """
    conflict = await index.conflict(conflict_id)
    kept, other = (conflict.first, conflict.second)[:: 1 if keep is Keep.FIRST else -1]
    if conflict.resolved and conflict.served == kept:
        return conflict
    decision = ConflictDecided(
        correlation_id=correlation_id,
        decision_id=new_pack_id(),
        sop_instance_uid=kept.location.identity.sop_uid,
        kept=kept.location.sha256.hex(),
        other=other.location.sha256.hex(),
        decided_at=datetime.now(UTC),
    )
    await objects.put(decision.key, decision.model_dump_json().encode())
    await apply_decision(decision, objects=objects, index=index)
    metrics.CONFLICTS_RESOLVED.labels(keep.value).inc()
    log.info("conflict resolved", conflict=conflict_id, keep=keep.value, instance=decision.sop_instance_uid)
    return await index.conflict(conflict_id)


async def apply_decision(decision: ConflictDecided, *, objects: Objects, index: ConflictingVersions) -> None:
    """Apply a decision that is in the object store to the index."""
    places = await index.conflicting_versions([decision.sop_instance_uid])
    kept = next((place for place in places if place.sha256.hex() == decision.kept), None)
    version = await asyncio.to_thread(_read_version, await objects.get(*kept.sidecar), kept) if kept else None
    await index.decide(decision, version)


def _read_version(data: bytes, place: Location) -> StoredPack:
    facts, lines = sidecar.decode(data)
    for line in lines:
        if line.offset == place.offset:
            return StoredPack(facts, [to_entry(line)])
    raise sidecar.BadSidecar(f"the sidecar of {place.key} has no line for the instance at byte {place.offset}")


async def apply_decisions(*, objects: Objects, index: ConflictingVersions) -> int:
    """Apply all decisions in the object store that the index does not know; returns how many there were."""
    applied = 0
    async for infos in in_chunks(objects.list(PREFIX), _CHUNK):
        keys = {PurePosixPath(info.key).stem: info.key for info in infos}
        known = await index.known_decisions(list(keys))
        for decision_id in sorted(keys.keys() - known):
            applied += await _apply_stored(keys[decision_id], objects, index)
    return applied


async def _apply_stored(key: str, objects: Objects, index: ConflictingVersions) -> bool:
    try:
        decision = ConflictDecided.model_validate_json(await objects.get(key))
        await apply_decision(decision, objects=objects, index=index)
    except (ValidationError, sidecar.BadSidecar, ObjectNotFound) as error:
        log.error("decision on a conflict not applied", key=key, error=str(error))
        return False
    return True
