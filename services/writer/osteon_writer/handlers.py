"""What the writer does with a sealed pack: sidecar, upload, announce, release."""

import asyncio
import time
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from osteon import metrics
from osteon.bus.port import Bus
from osteon.contracts.packs import PackSealed, PackStored
from osteon.dicom.reader import HeaderReader
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.spool import sidecar
from osteon.spool.paths import release, resolve

log = get_logger(__name__)


class PackLost(Invalid):
    """A sealed pack is neither in the spool nor in the object store."""


async def store_pack(
    message: PackSealed,
    *,
    spool: Path,
    objects: Objects,
    bus: Bus,
    executor: Executor,
    reader: HeaderReader,
    keep: bool = False,
) -> None:
    """Put a pack and its sidecar into the object store, announce it, and remove it from the spool.

    The pack goes first: where there is a sidecar, there is its pack. `keep` leaves the file in the spool.
    Raises `PackLost` when the file is gone and the objects are not there either.
    """
    path = resolve(spool, message.path)
    stored = PackStored.model_validate(message.model_dump())
    if await asyncio.to_thread(path.exists):
        await _upload(path, stored, objects, executor, reader)
    elif not await _is_stored(stored, objects):
        raise PackLost(f"pack {message.pack_id} is not in the spool ({message.path}) and not under {stored.key}")
    await bus.publish(stored)
    if not keep:
        await asyncio.to_thread(release, path)
    log.info("pack stored", pack=message.pack_id, instances=message.instances, size=message.size)


async def _upload(path: Path, stored: PackStored, objects: Objects, executor: Executor, reader: HeaderReader) -> None:
    started = time.perf_counter()
    build = partial(sidecar.build, path, stored, reader)
    data, problems = await asyncio.get_running_loop().run_in_executor(executor, build)
    await objects.put_file(stored.key, path)
    await objects.put(stored.sidecar_key, data)
    metrics.UPLOAD_SECONDS.observe(time.perf_counter() - started)
    metrics.PACKS_STORED.inc()
    metrics.STORED_BYTES.inc(stored.size + len(data))
    metrics.HEADER_PROBLEMS.inc(problems)


async def _is_stored(stored: PackStored, objects: Objects) -> bool:
    try:
        await objects.size(stored.sidecar_key)
        return await objects.size(stored.key) == stored.size
    except NotFound:
        return False
