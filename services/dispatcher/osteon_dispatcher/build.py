"""Composition root of `dispatcher`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from osteon import tls
from osteon.bus.port import Bus
from osteon.bus.rabbit import RabbitBus
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.runtime import Running, until_available
from osteon_dispatcher import remote
from osteon_dispatcher.settings import DispatcherServiceSettings, WorkSettings


@asynccontextmanager
async def build(settings: DispatcherServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ, S3 and PostgreSQL."""
    async with AsyncExitStack() as stack:
        index = SqlIndex(settings.database_url.get_secret_value(), pool=settings.database_pool)
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
    objects: Objects,  # noqa: ARG001 - for the jobs
    index: Index,
) -> AsyncIterator[None]:
    """Start the service on given ports."""
    async with tls.followed(tls.requestor(settings)) as context:
        await remote.serve(bus, index.remotes, index.queries, context)
        yield
