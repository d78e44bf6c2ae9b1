"""Composition root of `dispatcher`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from osteon import tls
from osteon.background import background
from osteon.bus.port import Bus
from osteon.contracts.topology import ROUTER
from osteon.index.port import Index
from osteon.jobs.runner import Pace, Runner
from osteon.objects.port import Objects
from osteon.rules.file import fill, read_file
from osteon.runtime import Running, until_available
from osteon.sending.sending import Sending
from osteon.service_stack import ServiceStack, service_stack
from osteon_dispatcher import remote
from osteon_dispatcher.bells import Bells
from osteon_dispatcher.breaker import Breaker, guarded
from osteon_dispatcher.commitment import answers
from osteon_dispatcher.kinds import Ports, kinds_of, own_door
from osteon_dispatcher.move import Moves
from osteon_dispatcher.routing import Router
from osteon_dispatcher.settings import DispatcherBaseSettings, DispatcherServiceSettings
from osteon_dispatcher.watching import watch_for_ever

_PACKS_AT_ONCE: Final = 4
"""Packs on which rules are tried at the same time."""


@asynccontextmanager
async def build(settings: DispatcherServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ, S3 and PostgreSQL."""
    async with service_stack() as stack:
        index = await stack.open_index(settings)
        objects = stack.open_objects(settings)
        bus = await stack.open_bus(settings, grace=settings.drain_seconds)
        yield await build_embedded(settings, stack, bus=bus, objects=objects, index=index)


async def build_embedded(
    settings: DispatcherBaseSettings,
    stack: ServiceStack,
    *,
    bus: Bus,
    objects: Objects,
    index: Index,
    door_at: Callable[[], str] | None = None,
) -> Running:
    """Start the service on given ports; `door_at` takes precedence over `OSTEON_OWN_DICOM_ADDRESS`."""
    context = await stack.resources.enter_async_context(tls.followed(tls.requestor(settings)))
    ports = Ports(
        settings=settings,
        bus=bus,
        objects=objects,
        index=index,
        sending=Sending.from_settings(objects, bus, settings),
        tls=context,
        bells=Bells(),
        door=partial(own_door, settings, context, door_at or (lambda: settings.own_dicom_address)),
    )
    await remote.serve(bus, index.remotes, index.queries, context)
    await Moves(index, ports.bells, settings.aet).serve(bus)
    await answers.serve(bus, index.commitments, index.jobs)
    breaker = Breaker(index.circuits, settings.breaker_failures, settings.breaker_seconds)
    # Jobs go on while the bus drains: a C-MOVE that is answered waits for its job.
    await stack.resources.enter_async_context(Runner(index.jobs, guarded(kinds_of(ports), breaker), _pace(settings)))
    await _route(settings, stack, ports)
    return Running(checks={"broker": bus.check, "objects": objects.check, "database": index.check})


async def _route(settings: DispatcherBaseSettings, stack: ServiceStack, ports: Ports) -> None:
    """Route what was indexed and what is stable."""
    if settings.rules_file is not None:
        known = await asyncio.to_thread(read_file, settings.rules_file)
        await until_available("database", partial(fill, ports.index.rules, known))
    router = Router(ports.index, ports.objects)
    await ports.bus.consume(ROUTER, router.route_pack, concurrency=_PACKS_AT_ONCE)
    watching = watch_for_ever(ports.index, router, settings.stable_age_seconds)
    await stack.inputs.enter_async_context(background(watching))


def _pace(settings: DispatcherBaseSettings) -> Pace:
    return Pace(
        concurrency=settings.dispatcher_jobs,
        lease=settings.job_lease_seconds,
        poll=settings.job_poll_seconds,
        keep=settings.job_history,
        keep_seconds=settings.job_history_days * 86_400,
    )
