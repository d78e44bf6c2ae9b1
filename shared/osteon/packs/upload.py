"""A pack on its way into the object store, with its sidecar, the same for DIMSE and HTTP."""

import time
from collections.abc import Awaitable
from pathlib import Path

from osteon import metrics
from osteon.contracts.packs import PackStored
from osteon.objects.port import Objects
from osteon.packs.sidecar import BuiltSidecar


async def store_pack(path: Path, facts: PackStored, sidecar: Awaitable[BuiltSidecar], objects: Objects) -> PackStored:
    """Put the pack at `path` into the object store, its sidecar as its last member, and count it.

    Returns the facts of the stored pack. The time that `sidecar` takes counts too. Raises what `sidecar` raises, and
    `ObjectsUnavailable`.
    """
    started = time.perf_counter()
    built = await sidecar
    stored = facts.model_copy(update={"size": built.tail.size, "sidecar_offset": built.tail.sidecar_offset})
    await objects.put_file(facts.key, path, built.tail)
    metrics.UPLOAD_SECONDS.observe(time.perf_counter() - started)
    metrics.PACKS_STORED.inc()
    metrics.STORED_PACK_BYTES.observe(stored.size)
    metrics.STORED_BYTES.inc(stored.size)
    metrics.HEADER_PROBLEMS.inc(built.problems)
    metrics.UNREADABLE_HEADERS.inc(built.unread)
    return stored
