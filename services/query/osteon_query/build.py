"""Composition root of `query`: the HTTP API, and the replies to C-FIND."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from osteon import work_folder
from osteon.bus.port import Bus
from osteon.bus.rabbit import RabbitBus
from osteon.contracts.find import FindPage, FindRequested
from osteon.contracts.topology import FIND, INDEXER, MODALITIES
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from osteon.logging import correlated
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.remotes.file import fill, read_file
from osteon.runtime import Running, http_server, until_available
from osteon.sending.transcoding import Transcoder
from osteon_query.app import create_app
from osteon_query.app_state import AppState
from osteon_query.images.render_client import RenderClient
from osteon_query.images.thumbnails import ThumbnailPrefetcher
from osteon_query.packs.instance_reader import LOSSY
from osteon_query.packs.sidecars import Sidecars
from osteon_query.packs.uploads import Uploads
from osteon_query.remotes.modality_list_rpc import list_modalities
from osteon_query.search.cfind import handle_find
from osteon_query.settings import DoorSettings, QueryServiceSettings

SIDECAR_MEMORY: Final = 128 << 20
"""Bytes of decoded sidecars that are kept in memory."""
TRANSCODE_SECONDS: Final = 330.0
"""Seconds to wait for `imaging` to transcode an instance: a little longer than it takes at most."""


@asynccontextmanager
async def build(
    settings: DoorSettings, *, bus: Bus | None = None, index: Index | None = None, objects: Objects | None = None
) -> AsyncIterator[Running]:
    """Start the service on the ports given, which stay the caller's, or on RabbitMQ, PostgreSQL and S3.

    On leaving, the HTTP server closes first, then what its requests use.
    """
    async with AsyncExitStack() as stack:
        if bus is None or index is None or objects is None:
            if not isinstance(settings, QueryServiceSettings):
                raise TypeError("without ports the settings must say where the real parts are")
            bus, index, objects = await _real_parts(settings, stack)
        if settings.remotes_file is not None:
            known = await asyncio.to_thread(read_file, settings.remotes_file)
            await until_available("database", partial(fill, index.remotes, *known))
        sidecars = Sidecars(objects, memory=SIDECAR_MEMORY)
        folder = await work_folder.lend(stack, "query")
        uploads = Uploads(
            index=index, objects=objects, bus=bus, wait=settings.index_wait, folder=folder, at_once=settings.uploads
        )
        await bus.declare(INDEXER)
        await uploads.start()
        find = partial(handle_find, index=index, sidecars=sidecars, page=settings.query_page)

        async def answer(message: FindRequested) -> FindPage:
            with correlated(message.correlation_id):
                return await find(message)

        await bus.serve(FIND, answer)
        await bus.serve(MODALITIES, partial(list_modalities, remotes=index.remotes))
        checks = {"broker": bus.check, "database": index.check, "objects": objects.check}
        transcoder = Transcoder(objects, bus, LOSSY, TRANSCODE_SECONDS)
        pictures = RenderClient(bus, objects, at_once=settings.render_at_once, seconds=settings.render_seconds)
        if settings.thumbnails_ahead:
            await stack.enter_async_context(_thumbnails_ahead(index, pictures))
        app = create_app(AppState(settings, bus, index, objects, sidecars, uploads, transcoder, pictures), checks)
        port = await stack.enter_async_context(
            http_server(app, settings.bind, settings.http_port, grace=settings.drain_seconds)
        )
        yield Running(checks=checks, ports={"http": port})


@asynccontextmanager
async def _thumbnails_ahead(index: Index, pictures: RenderClient) -> AsyncIterator[None]:
    ahead = ThumbnailPrefetcher(index, pictures)
    await until_available("database", ahead.begin)
    following = asyncio.create_task(ahead.run_forever())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait({following})


async def _real_parts(settings: QueryServiceSettings, stack: AsyncExitStack) -> tuple[Bus, Index, Objects]:
    index = SqlIndex.from_settings(settings)
    await until_available("database", index.start)
    stack.push_async_callback(index.close)
    bus = RabbitBus(settings.amqp_url.get_secret_value())
    await bus.start()
    stack.push_async_callback(bus.close, grace=settings.drain_seconds)
    return bus, index, S3Objects.from_settings(settings)
