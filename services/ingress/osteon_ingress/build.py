"""Composition root of `ingress`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Final

from osteon import metrics, tracing
from osteon.background import background
from osteon.bus.port import Bus
from osteon.contracts.packs import PackIndexed
from osteon.contracts.topology import writer_queue
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AssociationRefused
from osteon.objects.port import Objects
from osteon.runtime import Running, allow_open_files, until_available
from osteon.sending.store_sender import StoreSender
from osteon.service_stack import ServiceStack, service_stack
from osteon.spool.spool import Spool
from osteon_ingress.authorization import FILE_NAME, REFRESH_SECONDS, ModalityAccessList
from osteon_ingress.handlers import IngressAssociationHandler, acknowledge_indexed, publish_sealed_pack
from osteon_ingress.listeners import open_listeners
from osteon_ingress.move_progress import MoveProgressInbox
from osteon_ingress.observer import AssociationObserver
from osteon_ingress.settings import IngressBaseSettings, IngressServiceSettings, acceptor_config, spool_config

LAST_PUBLISH: Final = 3.0
"""Seconds for the last packs of a drain; what the broker does not take then stays in the spool."""
_CONNECT: Final = 1.0
"""Seconds to wait for the broker before listening, so that the first pack finds its queue."""


@asynccontextmanager
async def build(settings: IngressServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ and S3; neither is waited for."""
    async with service_stack() as stack:
        objects = await stack.cache_packs(stack.open_objects(settings), settings, "ingress")
        bus = await stack.open_bus(settings, grace=settings.drain_seconds, wait=False)
        yield await build_embedded(settings, stack, bus=bus, objects=objects, proxied=settings.proxy_protocol)


async def build_embedded(
    settings: IngressBaseSettings,
    stack: ServiceStack,
    *,
    bus: Bus,
    objects: Objects,
    proxied: bool = False,
    refresh_seconds: float = REFRESH_SECONDS,
) -> Running:
    """Start the service on given ports. `proxied`: a balancer in front sends the PROXY protocol.

    `refresh_seconds` lie between requests for the list of modalities.

    It listens without a broker and without objects, which only C-GET reads: the spool keeps what comes. When inputs
    close, it stops listening, associations get `OSTEON_DRAIN_SECONDS` to end, and the spool publishes what it has.
    """
    allow_open_files()
    inputs = stack.inputs
    publish = partial(publish_sealed_pack, bus=bus, spool_id=settings.spool_id)
    spool = await Spool.open(spool_config(settings), publish)
    access = ModalityAccessList(
        settings.unknown_aet_permissions,
        settings.spool_dir / FILE_NAME,
        check_host=settings.dicom_check_host,
        refresh_seconds=refresh_seconds,
    )
    await access.load()
    ready = asyncio.Event()
    inbox = MoveProgressInbox()
    await inputs.enter_async_context(
        background(_subscribe_and_refresh(bus, spool, settings.spool_id, inbox=inbox, access=access, ready=ready))
    )
    inputs.push_async_callback(spool.close, LAST_PUBLISH)
    sender = StoreSender.from_settings(objects, bus, settings)
    handler = partial(_handler, spool=spool, bus=bus, access=access, sender=sender, inbox=inbox)
    acceptor = Acceptor(acceptor_config(settings), handler, AssociationObserver())
    inputs.push_async_callback(acceptor.close, settings.drain_seconds)
    metrics.ASSOCIATIONS_LIMIT.set(settings.max_associations)
    with suppress(TimeoutError):
        await asyncio.wait_for(ready.wait(), _CONNECT)
    ports = await inputs.enter_async_context(
        open_listeners(acceptor, settings.bind, settings, settings, proxied=proxied)
    )
    return Running(checks={"spool": spool.check}, ports=ports)


async def _subscribe_and_refresh(
    bus: Bus, spool: Spool, spool_id: str, *, inbox: MoveProgressInbox, access: ModalityAccessList, ready: asyncio.Event
) -> None:
    """Declare and subscribe, retrying until there is a broker; then keep the list of modalities up to date."""
    await until_available("broker", partial(bus.declare, writer_queue(spool_id)))
    await until_available("broker", partial(bus.subscribe, PackIndexed, partial(acknowledge_indexed, spool=spool)))
    await until_available("broker", partial(inbox.subscribe, bus))
    ready.set()
    await access.refresh_forever(bus)


def _handler(
    info: AssociationInfo,
    *,
    spool: Spool,
    bus: Bus,
    access: ModalityAccessList,
    sender: StoreSender,
    inbox: MoveProgressInbox,
) -> IngressAssociationHandler:
    if (reason := access.refuse(info)) is not None:
        raise AssociationRefused(reason)
    span = tracing.start_span("association", kind="server", correlation_id=info.id, attributes=_span_attributes(info))
    traced = replace(info, traceparent=span.traceparent)
    return IngressAssociationHandler(traced, spool, bus, access, sender=sender, inbox=inbox, span=span)


def _span_attributes(info: AssociationInfo) -> dict[str, tracing.Attribute]:
    return {
        "dicom.calling_aet": info.calling_aet,
        "dicom.called_aet": info.called_aet,
        "client.address": info.remote_host,
    }
