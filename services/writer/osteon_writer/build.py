"""Composition root of `writer`: packs from a spool into the object store."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from osteon.bus.port import Bus
from osteon.contracts.packs import PackIndexed, PackSealed
from osteon.contracts.topology import writer_queue
from osteon.dicom.header.reader import HeaderReader
from osteon.objects.port import Objects
from osteon.runtime import Running
from osteon.service_stack import ServiceStack, service_stack
from osteon.spool.paths import release, resolve
from osteon_writer.handlers import store_sealed
from osteon_writer.settings import WriterBaseSettings, WriterServiceSettings


@asynccontextmanager
async def build(settings: WriterServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ and S3."""
    async with service_stack() as stack:
        objects = stack.open_objects(settings)
        bus = await stack.open_bus(settings, grace=settings.drain_seconds)
        yield await build_embedded(settings, stack, bus=bus, objects=objects)


async def build_embedded(
    settings: WriterBaseSettings, stack: ServiceStack, *, bus: Bus, objects: Objects, keep_until_indexed: bool = False
) -> Running:
    """Start the service on given ports.

    `keep_until_indexed`: a pack stays in the spool until it is indexed, for a bus that loses its messages in a crash.
    """
    # Beside all other services in one process, further threads would only compete for the interpreter.
    threads = 1 if keep_until_indexed else settings.writer_concurrency
    executor = stack.resources.enter_context(ThreadPoolExecutor(threads, "sidecar"))
    store = partial(
        store_sealed,
        spool=settings.spool_dir,
        objects=objects,
        bus=bus,
        executor=executor,
        reader=HeaderReader(),
        keep=keep_until_indexed,
    )
    paths: dict[str, str] = {}

    async def store_and_remember(message: PackSealed) -> None:
        paths[message.pack_id] = message.path
        await store(message)

    async def release_indexed(message: PackIndexed) -> None:
        if path := paths.pop(message.pack_id, None):
            await asyncio.to_thread(release, resolve(settings.spool_dir, path))

    if keep_until_indexed:
        await bus.subscribe(PackIndexed, release_indexed)
    await bus.consume(
        writer_queue(settings.spool_id),
        store_and_remember if keep_until_indexed else store,
        concurrency=settings.writer_concurrency,
    )
    return Running(checks={"broker": bus.check, "objects": objects.check})
