"""Composition root of `dispatcher`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from osteon import tls
from osteon.background import background
from osteon.bus.port import Bus
from osteon.contracts.packs import PackIndexed
from osteon.contracts.topology import CORRECTIONS, ROUTER
from osteon.index.port import Index
from osteon.jobs.runner import JobRunner, RunnerConfig
from osteon.objects.port import Objects
from osteon.rules.file import add_missing, read_file
from osteon.runtime import Running, until_available
from osteon.scratch_dir import enter_scratch_dir
from osteon.sending.store_sender import StoreSender
from osteon.service_stack import ServiceStack, service_stack
from osteon_dispatcher import dicomweb_requests, remote_requests
from osteon_dispatcher.circuit_breaker import CircuitBreaker, guarded
from osteon_dispatcher.cmove.scp import MoveScp
from osteon_dispatcher.commitment import rpc
from osteon_dispatcher.job_types import JobContext, job_types
from osteon_dispatcher.peer_client import PeerPolicy
from osteon_dispatcher.reconcile_job import correct_patient, reconcile_late
from osteon_dispatcher.remote_addresses import own_acceptor
from osteon_dispatcher.routing import Router
from osteon_dispatcher.settings import DispatcherBaseSettings, DispatcherServiceSettings
from osteon_dispatcher.stability_sweep import sweep_forever

_PACKS_IN_BATCH: Final = 100
"""Indexed packs that one reading of the rules serves, when so many wait."""
_BATCH_SECONDS: Final = 0.05
"""For how long they are gathered."""


@asynccontextmanager
async def build(settings: DispatcherServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ, S3 and PostgreSQL."""
    async with service_stack() as stack:
        index = await stack.open_index(settings)
        objects = await stack.cache_packs(stack.open_objects(settings), settings, "dispatcher")
        bus = await stack.open_bus(settings, grace=settings.drain_seconds)
        yield await build_embedded(settings, stack, bus=bus, objects=objects, index=index)


async def build_embedded(
    settings: DispatcherBaseSettings,
    stack: ServiceStack,
    *,
    bus: Bus,
    objects: Objects,
    index: Index,
    own_address: Callable[[], str] | None = None,
) -> Running:
    """Start the service on given ports; `own_address` takes precedence over `OSTEON_OWN_DICOM_ADDRESS`."""
    tls_context = await stack.resources.enter_async_context(tls.reloaded_context(tls.requestor(settings)))
    context = JobContext(
        settings=settings,
        bus=bus,
        objects=objects,
        index=index,
        sender=StoreSender.from_settings(objects, bus, settings),
        tls=tls_context,
        folder=await enter_scratch_dir(stack.resources, "dispatcher"),
        own_acceptor=partial(own_acceptor, settings, tls_context, own_address or (lambda: settings.own_dicom_address)),
    )
    policy = PeerPolicy.from_settings(settings)
    await remote_requests.serve(bus, index.remotes, index.queries, objects=objects, tls=tls_context, policy=policy)
    await dicomweb_requests.serve(bus, index.remotes, objects, context.folder, policy)
    await MoveScp(index, context.signals, settings.aet).serve(bus)
    await rpc.serve(bus, index.commitments, index.jobs)
    breaker = CircuitBreaker(index.circuits, settings.breaker_failures, settings.breaker_seconds)
    # Jobs go on while the bus drains: a C-MOVE that is answered waits for its job.
    runner = JobRunner(
        index.jobs, guarded(job_types(context), breaker), RunnerConfig.from_settings(settings, settings.dispatcher_jobs)
    )
    await stack.resources.enter_async_context(runner)
    await bus.consume(CORRECTIONS, partial(correct_patient, index=index, objects=objects))
    await _route(settings, stack, context)
    return Running(checks={"broker": bus.check, "objects": objects.check, "database": index.check})


async def _route(settings: DispatcherBaseSettings, stack: ServiceStack, context: JobContext) -> None:
    """Route what was indexed and what is stable."""
    if settings.rules_file is not None:
        known = await asyncio.to_thread(read_file, settings.rules_file)
        await until_available("database", partial(add_missing, context.index.rules, known))
    router = Router(context.index, context.objects)

    async def handle(messages: Sequence[PackIndexed]) -> None:
        await reconcile_late(messages, index=context.index)
        await router.route_packs(messages)

    await context.bus.consume_batches(ROUTER, handle, size=_PACKS_IN_BATCH, linger=_BATCH_SECONDS)
    watching = sweep_forever(context.index, router, settings.stable_age_seconds)
    await stack.inputs.enter_async_context(background(watching))
