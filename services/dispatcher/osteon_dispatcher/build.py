"""Composition root of `dispatcher`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from osteon import tls
from osteon.bus.port import Bus
from osteon.bus.rabbit import RabbitBus
from osteon.contracts.topology import ROUTER
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from osteon.jobs.runner import JobRunner, RunnerConfig
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.rules.file import add_missing, read_file
from osteon.runtime import Running, until_available
from osteon.sending.store_sender import StoreSender
from osteon_dispatcher import remote_requests
from osteon_dispatcher.circuit_breaker import CircuitBreaker, guarded
from osteon_dispatcher.cmove.scp import MoveScp
from osteon_dispatcher.commitment import rpc
from osteon_dispatcher.job_types import JobContext, job_types
from osteon_dispatcher.remote_addresses import own_acceptor
from osteon_dispatcher.routing import Router
from osteon_dispatcher.settings import DispatcherServiceSettings, WorkSettings
from osteon_dispatcher.stability_sweep import sweep_forever

_PACKS_AT_ONCE: Final = 4
"""Packs on which rules are tried at the same time."""


@asynccontextmanager
async def build(settings: DispatcherServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ, S3 and PostgreSQL."""
    async with AsyncExitStack() as stack:
        index = SqlIndex.from_settings(settings)
        await until_available("database", index.start)
        stack.push_async_callback(index.close)
        objects = S3Objects.from_settings(settings)
        stack.callback(objects.close)
        bus = RabbitBus(settings.amqp_url.get_secret_value())
        await bus.start()
        await stack.enter_async_context(build_embedded(settings, bus=bus, objects=objects, index=index))
        stack.push_async_callback(bus.close, grace=settings.drain_seconds)
        yield Running(checks={"broker": bus.check, "objects": objects.check, "database": index.check})


@asynccontextmanager
async def build_embedded(
    settings: WorkSettings,
    *,
    bus: Bus,
    objects: Objects,
    index: Index,
    door_at: Callable[[], str] | None = None,
) -> AsyncIterator[None]:
    """Start the service on given ports; `door_at` takes precedence over `OSTEON_OWN_DOOR`."""
    async with tls.followed(tls.requestor(settings)) as context:
        ports = JobContext(
            settings=settings,
            bus=bus,
            objects=objects,
            index=index,
            sender=StoreSender.from_settings(objects, bus, settings),
            tls=context,
            own_acceptor=partial(own_acceptor, settings, context, door_at or (lambda: settings.own_door)),
        )
        await remote_requests.serve(bus, index.remotes, index.queries, context)
        await MoveScp(index, ports.signals, settings.aet).serve(bus)
        await rpc.serve(bus, index.commitments, index.jobs)
        breaker = CircuitBreaker(index.circuits, settings.breaker_failures, settings.breaker_seconds)
        async with (
            JobRunner(index.jobs, guarded(job_types(ports), breaker), _runner_config(settings)),
            routing(settings, ports),
        ):
            yield


@asynccontextmanager
async def routing(settings: WorkSettings, ports: JobContext) -> AsyncIterator[None]:
    """Route what was indexed and what is stable."""
    if settings.rules_file is not None:
        known = await asyncio.to_thread(read_file, settings.rules_file)
        await until_available("database", partial(add_missing, ports.index.rules, known))
    router = Router(ports.index, ports.objects)
    await ports.bus.consume(ROUTER, router.route_pack, concurrency=_PACKS_AT_ONCE)
    watching = asyncio.create_task(sweep_forever(ports.index, router, settings.stable_age))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


def _runner_config(settings: WorkSettings) -> RunnerConfig:
    return RunnerConfig(
        concurrency=settings.dispatcher_jobs,
        lease=settings.job_lease,
        poll=settings.job_poll,
        keep=settings.job_history,
        keep_seconds=settings.job_history_days * 86_400,
    )
