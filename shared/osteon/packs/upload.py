"""A pack and its sidecar on their way into the object store, the same for DIMSE and HTTP."""

import time
from collections.abc import Awaitable
from pathlib import Path

from osteon import metrics
from osteon.contracts.packs import PackStored
from osteon.objects.port import Objects
from osteon.packs.sidecar import BuiltSidecar


async def store_pack(path: Path, facts: PackStored, sidecar: Awaitable[BuiltSidecar], objects: Objects) -> None:
    """Put the pack at `path` into the object store, then its sidecar, and count both.

    The pack goes first: where there is a sidecar, there is its pack. The time that `sidecar` takes counts too.
    Raises what `sidecar` raises, and `ObjectsUnavailable`.
    """
    started = time.perf_counter()
    built = await sidecar
    await objects.put_file(facts.key, path)
    await objects.put(facts.sidecar_key, built.data)
    metrics.UPLOAD_SECONDS.observe(time.perf_counter() - started)
    metrics.PACKS_STORED.inc()
    metrics.STORED_PACK_BYTES.observe(facts.size)
    metrics.STORED_BYTES.inc(facts.size + len(built.data))
    metrics.HEADER_PROBLEMS.inc(built.problems)
    metrics.UNREADABLE_HEADERS.inc(built.unread)
