"""Composition root of `writer`."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from osteon.bus.port import Bus
from osteon.bus.rabbit import RabbitBus
from osteon.contracts.packs import PackIndexed, PackSealed
from osteon.contracts.topology import writer_queue
from osteon.dicom.header.reader import HeaderReader
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.runtime import Running
from osteon.spool.paths import release, resolve
from osteon_writer.handlers import store_pack
from osteon_writer.settings import WriterServiceSettings


@asynccontextmanager
async def build(settings: WriterServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ and S3."""
    async with AsyncExitStack() as stack:
        objects = S3Objects.from_settings(settings)
        stack.callback(objects.close)
        executor = stack.enter_context(ThreadPoolExecutor(settings.writer_concurrency, "sidecar"))
        bus = RabbitBus(settings.amqp_url.get_secret_value())
        await bus.start()
        stack.push_async_callback(bus.close, grace=settings.drain_seconds)
        handler = partial(
            store_pack, spool=settings.spool, objects=objects, bus=bus, executor=executor, reader=HeaderReader()
        )
        await bus.consume(writer_queue(settings.spool_id), handler, concurrency=settings.writer_concurrency)
        yield Running(checks={"broker": bus.check, "objects": objects.check})


@asynccontextmanager
async def build_embedded(spool: Path, spool_id: str, *, bus: Bus, objects: Objects) -> AsyncIterator[None]:
    """Start the service beside an in-memory bus.

    That bus forgets what it holds in a crash, so a pack stays in the spool until it is indexed.
    """
    paths: dict[str, str] = {}
    with ThreadPoolExecutor(1, "sidecar") as executor:
        store_kept = partial(
            store_pack, spool=spool, objects=objects, bus=bus, executor=executor, reader=HeaderReader(), keep=True
        )

        async def store(message: PackSealed) -> None:
            paths[message.pack_id] = message.path
            await store_kept(message)

        async def forget(message: PackIndexed) -> None:
            if path := paths.pop(message.pack_id, None):
                await asyncio.to_thread(release, resolve(spool, path))

        await bus.subscribe(PackIndexed, forget)
        await bus.consume(writer_queue(spool_id), store, concurrency=2)
        yield
