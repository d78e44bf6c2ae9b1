"""What the writer does with a sealed pack: sidecar, upload, publish, release."""

import asyncio
from concurrent.futures import Executor
from pathlib import Path

from osteon.bus.port import Bus
from osteon.contracts.packs import PackSealed, PackStored
from osteon.dicom.header.reader import HeaderReader
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs import sidecar
from osteon.packs.sidecar_member import find_sidecar
from osteon.packs.upload import store_pack
from osteon.spool.disk import Disk
from osteon.spool.paths import DAMAGED, release, resolve
from osteon.spool.recovery import recover

log = get_logger(__name__)


async def store_sealed(
    message: PackSealed,
    *,
    spool: Path,
    objects: Objects,
    bus: Bus,
    executor: Executor,
    reader: HeaderReader,
    keep: bool = False,
) -> None:
    """Put a pack with its sidecar into the object store, publish `PackStored`, and remove the file from the spool.

    `keep` leaves the file in the spool. A missing file means that the pack was stored before, so `PackStored` is only
    published again. The object may have been deleted as redundant; the indexer reports an error only when it does not
    know the pack. The intact members of a corrupt file are stored in a pack of their own, and the file is
    kept under a name that ends with `.damaged`.
    """
    path = resolve(spool, message.path)
    stored = PackStored.model_validate(message.model_dump())
    if not await asyncio.to_thread(path.exists):
        log.info("pack is not in the spool, publishing it again", pack=message.pack_id)
        await bus.publish(await _stored_before(stored, objects))
        return
    try:
        built = asyncio.get_running_loop().run_in_executor(executor, sidecar.build, path, stored, reader)
        stored = await store_pack(path, stored, built, objects)
    except Invalid as error:
        rest = await _salvage(message, path, spool, error)
        if rest is not None:
            await store_sealed(rest, spool=spool, objects=objects, bus=bus, executor=executor, reader=reader, keep=keep)
        return
    await bus.publish(stored)
    if not keep:
        await asyncio.to_thread(release, path)
    log.info("pack stored", pack=message.pack_id, instances=message.instances, size=stored.size)


async def _stored_before(stored: PackStored, objects: Objects) -> PackStored:
    """Return the facts of a pack that was stored, with its length and its sidecar's place if it is still there."""
    try:
        size = await objects.size(stored.key)
        found = await find_sidecar(stored.key, size, objects)
    except ObjectNotFound:
        return stored
    return stored.model_copy(update={"size": size, "sidecar_offset": found.offset})


async def _salvage(message: PackSealed, path: Path, spool: Path, error: Invalid) -> PackSealed | None:
    """Save the intact members of a corrupt file; return their message, None without any. Raises `error` if all are."""
    recovered = await asyncio.to_thread(recover, path, spool, Disk())
    pack = recovered.pack
    if pack is not None and pack.path == message.path:
        raise error
    log.error("pack is corrupt", pack=message.pack_id, error=str(error), kept=path.name + DAMAGED,
              saved=pack.instances if pack else 0, of=message.instances)  # fmt: skip
    if pack is None:
        return None
    new = {"pack_id": pack.pack_id, "path": pack.path, "instances": pack.instances, "size": pack.size}
    return message.model_copy(update=new)
