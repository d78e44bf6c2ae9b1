"""What a service opens, and the one order in which every service closes it.

1. `inputs`: what brings work in, and what still publishes: listeners, timers, the spool. Nothing new is accepted.
2. `bus`: no further message is taken; handlers in flight get `OSTEON_DRAIN_SECONDS` to end.
3. `resources`: what handlers use: worker processes, folders, the job runner, the object store, the index.

In each of them, what was opened last closes first. The adapters are imported when they are opened: a service without an
index never loads SQLAlchemy.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from osteon.background import background
from osteon.bus.port import Bus
from osteon.index.port import Index
from osteon.objects.port import Objects
from osteon.runtime import until_available
from osteon.scratch_dir import enter_scratch_dir
from osteon.settings import BusSettings, IndexSettings, ObjectSettings, PackCacheSettings


@dataclass(frozen=True, slots=True)
class ServiceStack:
    """Three stacks that close in the order of this module's description."""

    inputs: AsyncExitStack
    bus: AsyncExitStack
    resources: AsyncExitStack

    async def open_index(self, settings: IndexSettings, *, wait: bool = True) -> Index:
        """Return the index on PostgreSQL, once the database answers; raises `Unavailable` if it is not to `wait`."""
        from osteon.index.sql import SqlIndex

        index = SqlIndex.from_settings(settings)
        self.resources.push_async_callback(index.close)
        if wait:
            await until_available("database", index.start)
        else:
            await index.start()
        return index

    def open_objects(self, settings: ObjectSettings) -> Objects:
        """Return the objects on S3, which is not waited for: `/readyz` says when it does not answer."""
        from osteon.objects.s3 import S3Objects

        objects = S3Objects.from_settings(settings)
        self.resources.callback(objects.close)
        return objects

    async def cache_packs(
        self, objects: Objects, settings: PackCacheSettings, service: str, *, prefetch: bool = False
    ) -> Objects:
        """Return the objects with packs in a local folder, unless the settings want none."""
        if not settings.pack_cache_bytes:
            return objects
        from osteon.objects.pack_cache import PackCache

        folder = await enter_scratch_dir(self.resources, f"{service}-packs", settings.pack_cache_dir)
        cache = PackCache(objects, folder, settings.pack_cache_bytes, prefetch=prefetch)
        self.resources.push_async_callback(cache.close)
        return cache

    async def open_bus(self, settings: BusSettings, *, grace: float, wait: bool = True) -> Bus:
        """Return the bus on RabbitMQ, connected unless it is not to `wait`: then it connects in the background."""
        from osteon.bus.rabbit import RabbitBus

        bus = RabbitBus(settings.amqp_url.get_secret_value())
        self.drain(bus, grace)
        if wait:
            await bus.start()
        else:
            await self.bus.enter_async_context(background(bus.start()))
        return bus

    def drain(self, bus: Bus, grace: float) -> None:
        """Close a bus between `inputs` and `resources`; its handlers in flight get `grace` seconds."""
        self.bus.push_async_callback(bus.close, grace=grace)


@asynccontextmanager
async def service_stack() -> AsyncIterator[ServiceStack]:
    """Yield what a service opens its parts on; closes them on leaving."""
    async with AsyncExitStack() as resources, AsyncExitStack() as bus, AsyncExitStack() as inputs:
        yield ServiceStack(inputs, bus, resources)
