"""Composition root of `ingress`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from osteon import metrics, tracing
from osteon.bus.port import Bus
from osteon.contracts.packs import PackIndexed
from osteon.contracts.topology import writer_queue
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AssociationRefused
from osteon.objects.port import Objects
from osteon.runtime import Running, allow_open_files, until_available
from osteon.sending.sending import Sending
from osteon.settings import (
    AccessSettings,
    BalancerSettings,
    BusSettings,
    DicomSettings,
    ObjectSettings,
    ProcessSettings,
    SendingSettings,
    SpoolSettings,
    TlsSettings,
)
from osteon.spool.spool import Spool
from osteon_ingress.authorization import FILE_NAME, ModalityAccessList
from osteon_ingress.handlers import IngressAssociationHandler, acknowledge_indexed, publish_sealed_pack
from osteon_ingress.listeners import open_listeners
from osteon_ingress.observer import AssociationObserver
from osteon_ingress.settings import acceptor_config, spool_config

LAST_PUBLISH = 3.0
"""Seconds for the last packs of a drain; what the broker does not take then stays in the spool."""


@asynccontextmanager
async def build(
    settings: ProcessSettings, *, bus: Bus | None = None, objects: Objects | None = None
) -> AsyncIterator[Running]:
    """Start the service on the bus and the objects given, which stay the caller's, or on RabbitMQ and S3.

    `settings` must hold the groups for DICOM, the spool and what is sent, and for the broker when no bus is given. The
    door opens without a broker and without objects, which only C-GET reads: the spool keeps what comes. On leaving,
    the door closes and associations get `OSTEON_DRAIN_SECONDS` to end.
    """
    if not (
        isinstance(settings, DicomSettings)
        and isinstance(settings, TlsSettings)
        and isinstance(settings, SpoolSettings)
        and isinstance(settings, AccessSettings)
        and isinstance(settings, SendingSettings)
    ):
        raise TypeError("the settings must hold those for DICOM, TLS, access, the spool and sending")
    async with AsyncExitStack() as stack:
        connecting = None
        if objects is None:
            objects = _object_store(settings, stack)
        if bus is None:
            bus, connecting = _broker(settings, stack)
        sending = Sending.from_settings(objects, bus, settings)
        service = _service(
            settings, settings, settings, settings, settings, bus=bus, sending=sending, connecting=connecting
        )
        yield await stack.enter_async_context(service)


def _object_store(settings: ProcessSettings, stack: AsyncExitStack) -> Objects:
    if not isinstance(settings, ObjectSettings):
        raise TypeError("without objects the settings must say where they are")
    from osteon.objects.s3 import S3Objects

    objects = S3Objects.from_settings(settings)
    stack.callback(objects.close)
    return objects


def _broker(settings: ProcessSettings, stack: AsyncExitStack) -> tuple[Bus, asyncio.Task[None]]:
    if not isinstance(settings, BusSettings):
        raise TypeError("without a bus the settings must say where the broker is")
    from osteon.bus.rabbit import RabbitBus

    bus = RabbitBus(settings.amqp_url.get_secret_value())
    connecting = asyncio.create_task(bus.start())
    stack.push_async_callback(bus.close)
    stack.push_async_callback(_cancel, connecting)
    return bus, connecting


@asynccontextmanager
async def _service(
    process: ProcessSettings,
    dicom: DicomSettings,
    secure: TlsSettings,
    rules: AccessSettings,
    spool_settings: SpoolSettings,
    *,
    bus: Bus,
    sending: Sending,
    connecting: asyncio.Task[None] | None = None,
) -> AsyncIterator[Running]:
    allow_open_files()
    publish = partial(publish_sealed_pack, bus=bus, spool_id=spool_settings.spool_id)
    spool = await Spool.open(spool_config(spool_settings, ack_after=dicom.ack_after), publish)
    listening = asyncio.create_task(_listen(bus, spool, spool_settings.spool_id, connecting))
    access = ModalityAccessList(rules.unknown_aets, spool_settings.spool / FILE_NAME, check_host=rules.dicom_check_host)
    await access.load()
    following = asyncio.create_task(_follow(bus, access, connecting))
    handler = partial(_handler, spool=spool, bus=bus, access=access, sending=sending)
    acceptor = Acceptor(acceptor_config(dicom), handler, AssociationObserver())
    metrics.ASSOCIATIONS_LIMIT.set(dicom.max_associations)
    try:
        if connecting is None:
            await listening
        proxied = isinstance(process, BalancerSettings) and process.proxy_protocol
        async with open_listeners(acceptor, process.bind, dicom, secure, proxied=proxied) as ports:
            yield Running(checks={"spool": spool.check}, ports=ports)
    finally:
        await acceptor.close(process.drain_seconds)
        await spool.close(LAST_PUBLISH)
        await _cancel(listening)
        await _cancel(following)


async def _follow(bus: Bus, access: ModalityAccessList, connecting: asyncio.Task[None] | None) -> None:
    if connecting is not None:
        await asyncio.shield(connecting)
    await access.refresh_forever(bus)


async def _listen(bus: Bus, spool: Spool, spool_id: str, connecting: asyncio.Task[None] | None) -> None:
    if connecting is not None:
        await asyncio.shield(connecting)
    await until_available("broker", partial(bus.declare, writer_queue(spool_id)))
    await until_available("broker", partial(bus.subscribe, PackIndexed, partial(acknowledge_indexed, spool=spool)))


def _handler(
    info: AssociationInfo, *, spool: Spool, bus: Bus, access: ModalityAccessList, sending: Sending
) -> IngressAssociationHandler:
    if (reason := access.refuse(info)) is not None:
        raise AssociationRefused(reason)
    span = tracing.begin("association", kind="server", correlation_id=info.id, attributes=_shown(info))
    return IngressAssociationHandler(
        replace(info, traceparent=span.traceparent), spool, bus, access, sending=sending, span=span
    )


def _shown(info: AssociationInfo) -> dict[str, tracing.Attribute]:
    return {
        "dicom.calling_aet": info.calling_aet,
        "dicom.called_aet": info.called_aet,
        "client.address": info.remote_host,
    }


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
