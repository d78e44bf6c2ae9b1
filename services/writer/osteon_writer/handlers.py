"""What the writer does with a sealed pack: sidecar, upload, announce, release."""

import asyncio
import time
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from osteon import metrics
from osteon.bus.port import Bus
from osteon.contracts.packs import PackSealed, PackStored
from osteon.dicom.header.reader import HeaderReader
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.spool import sidecar
from osteon.spool.disk import Disk
from osteon.spool.paths import DAMAGED, release, resolve
from osteon.spool.recovery import recover

log = get_logger(__name__)


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
    A file that is gone was stored before. It is announced again, and the indexer says so when it knows nothing of it;
    its objects may be gone too by now, deleted as redundant. Of a file that the disk has spoiled the whole members
    go their way in a pack of their own; it is kept, under a name that ends with `.damaged`.
    """
    path = resolve(spool, message.path)
    stored = PackStored.model_validate(message.model_dump())
    if not await asyncio.to_thread(path.exists):
        log.info("pack is not in the spool, announced again", pack=message.pack_id)
        await bus.publish(stored)
        return
    try:
        await _upload(path, stored, objects, executor, reader)
    except Invalid as error:
        rest = await _whole_members(message, path, spool, error)
        if rest is not None:
            await store_pack(rest, spool=spool, objects=objects, bus=bus, executor=executor, reader=reader, keep=keep)
        return
    await bus.publish(stored)
    if not keep:
        await asyncio.to_thread(release, path)
    log.info("pack stored", pack=message.pack_id, instances=message.instances, size=message.size)


async def _whole_members(message: PackSealed, path: Path, spool: Path, error: Invalid) -> PackSealed | None:
    """Save what is whole of a spoiled file, and return its message (None: nothing is); raises `error` for another."""
    recovered = await asyncio.to_thread(recover, path, spool, Disk())
    pack = recovered.pack
    if pack is not None and pack.path == message.path:
        raise error
    log.error("pack is damaged", pack=message.pack_id, error=str(error), kept=path.name + DAMAGED,
              saved=pack.instances if pack else 0, of=message.instances)  # fmt: skip
    if pack is None:
        return None
    new = {"pack_id": pack.pack_id, "path": pack.path, "instances": pack.instances, "size": pack.size}
    return message.model_copy(update=new)


async def _upload(path: Path, stored: PackStored, objects: Objects, executor: Executor, reader: HeaderReader) -> None:
    started = time.perf_counter()
    build = partial(sidecar.build, path, stored, reader)
    built = await asyncio.get_running_loop().run_in_executor(executor, build)
    await objects.put_file(stored.key, path)
    await objects.put(stored.sidecar_key, built.data)
    metrics.UPLOAD_SECONDS.observe(time.perf_counter() - started)
    metrics.PACKS_STORED.inc()
    metrics.PACK_BYTES.observe(stored.size)
    metrics.STORED_BYTES.inc(stored.size + len(built.data))
    metrics.HEADER_PROBLEMS.inc(built.problems)
    metrics.UNREAD_HEADERS.inc(built.unread)
