"""Composition root of `ingress`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from osteon.bus.port import Bus
from osteon.contracts.packs import PackIndexed
from osteon.contracts.topology import writer_queue
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AssociationRefused
from osteon.errors import OsteonError
from osteon.runtime import Running, allow_open_files, until_available
from osteon.settings import AccessSettings, BusSettings, DicomSettings, ProcessSettings, SpoolSettings
from osteon.spool.spool import Spool
from osteon_ingress.access import FILE, Access
from osteon_ingress.handlers import Association, announce, indexed
from osteon_ingress.observer import AssociationObserver
from osteon_ingress.settings import acceptor_config, spool_config

LAST_PUBLISH = 3.0
"""Seconds for the last packs of a drain; what the broker does not take then stays in the spool."""


@asynccontextmanager
async def build(settings: ProcessSettings, *, bus: Bus | None = None) -> AsyncIterator[Running]:
    """Start the service on the bus given, which stays the caller's, or on RabbitMQ.

    `settings` must hold the groups for DICOM and the spool, and for the broker when no bus is given. The door opens
    without a broker too: the spool keeps what comes. On leaving, the door closes and associations get
    `OSTEON_DRAIN_SECONDS` to end.
    """
    if not (
        isinstance(settings, DicomSettings)
        and isinstance(settings, SpoolSettings)
        and isinstance(settings, AccessSettings)
    ):
        raise TypeError("the settings must hold those for DICOM, for access and for the spool")
    if bus is not None:
        async with _service(settings, settings, settings, settings, bus) as running:
            yield running
        return
    if not isinstance(settings, BusSettings):
        raise TypeError("without a bus the settings must say where the broker is")
    from osteon.bus.rabbit import RabbitBus

    own = RabbitBus(settings.amqp_url.get_secret_value())
    connecting = asyncio.create_task(own.start())
    try:
        async with _service(settings, settings, settings, settings, own, connecting=connecting) as running:
            yield running
    finally:
        await _cancel(connecting)
        await own.close()


@asynccontextmanager
async def _service(
    process: ProcessSettings,
    dicom: DicomSettings,
    rules: AccessSettings,
    spool_settings: SpoolSettings,
    bus: Bus,
    *,
    connecting: asyncio.Task[None] | None = None,
) -> AsyncIterator[Running]:
    allow_open_files()
    publish = partial(announce, bus=bus, spool_id=spool_settings.spool_id)
    spool = await Spool.open(spool_config(spool_settings, ack_after=dicom.ack_after), publish)
    listening = asyncio.create_task(_listen(bus, spool, spool_settings.spool_id, connecting))
    access = Access(rules.unknown_aets, spool_settings.spool / FILE, check_host=rules.dicom_check_host)
    await access.load()
    following = asyncio.create_task(_follow(bus, access, connecting))
    handler = partial(_handler, spool=spool, bus=bus, access=access)
    acceptor = Acceptor(acceptor_config(dicom), handler, AssociationObserver())
    try:
        if connecting is None:
            await listening
        port = await _open_door(acceptor, process.bind, dicom.dicom_port)
        yield Running(checks={"spool": spool.check}, ports={"dicom": port})
    finally:
        await acceptor.close(process.drain_seconds)
        await spool.close(LAST_PUBLISH)
        await _cancel(listening)
        await _cancel(following)


async def _follow(bus: Bus, access: Access, connecting: asyncio.Task[None] | None) -> None:
    if connecting is not None:
        await asyncio.shield(connecting)
    await access.follow(bus)


async def _listen(bus: Bus, spool: Spool, spool_id: str, connecting: asyncio.Task[None] | None) -> None:
    if connecting is not None:
        await asyncio.shield(connecting)
    await until_available("broker", partial(bus.declare, writer_queue(spool_id)))
    await until_available("broker", partial(bus.subscribe, PackIndexed, partial(indexed, spool=spool)))


async def _open_door(acceptor: Acceptor, host: str, port: int) -> int:
    try:
        return await acceptor.start(host, port)
    except OSError as error:
        # asyncio puts the address into strerror, and that of a name that is not found has no number
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise OsteonError(f"can not listen on {host}:{port} (OSTEON_DICOM_PORT): {reason}") from error


def _handler(info: AssociationInfo, *, spool: Spool, bus: Bus, access: Access) -> Association:
    if (reason := access.refuse(info)) is not None:
        raise AssociationRefused(reason)
    return Association(info, spool, bus, access)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
