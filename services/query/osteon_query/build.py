"""Composition root of `query`: the HTTP API, and the replies to C-FIND."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from osteon import scratch_dir
from osteon.background import background
from osteon.bus.port import Bus
from osteon.contracts.find import FindCancelled
from osteon.contracts.topology import FIND, INDEXER, MODALITIES
from osteon.index.port import Index
from osteon.jobs.runner import JobRunner, RunnerConfig
from osteon.objects.port import Objects
from osteon.remotes.file import add_missing, read_file
from osteon.runtime import Running, http_server, until_available
from osteon.sending.transcoder import Transcoder
from osteon.service_stack import ServiceStack, service_stack
from osteon_query.app import create_app
from osteon_query.app_state import AppState
from osteon_query.archives.jobs import ArchiveJobs
from osteon_query.archives.writer import ArchiveWriter
from osteon_query.http.bodies import BodyPace
from osteon_query.images.native_drawer import NativeDrawer
from osteon_query.images.render_client import RenderClient
from osteon_query.images.thumbnails import ThumbnailPrefetcher
from osteon_query.limits import ApiLimits
from osteon_query.packs.frames import FrameLocator
from osteon_query.packs.instance_reader import LOSSY
from osteon_query.packs.sidecars import Sidecars
from osteon_query.packs.upload_slots import UploadSlots
from osteon_query.packs.uploads import Uploads
from osteon_query.remotes.modality_list_rpc import list_modalities
from osteon_query.search.cfind import handle_find
from osteon_query.search.conditions import SearchLimits
from osteon_query.search.find_requests import FindRequests
from osteon_query.settings import QueryBaseSettings, QueryServiceSettings

SIDECAR_MEMORY: Final = 128 << 20
"""Bytes of decoded sidecars that are kept in memory."""


@asynccontextmanager
async def build(settings: QueryServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ, S3 and PostgreSQL."""
    async with service_stack() as stack:
        index = await stack.open_index(settings)
        objects = await stack.cache_packs(stack.open_objects(settings), settings, "query", prefetch=True)
        bus = await stack.open_bus(settings, grace=settings.drain_seconds)
        yield await build_embedded(settings, stack, bus=bus, objects=objects, index=index)


async def build_embedded(
    settings: QueryBaseSettings, stack: ServiceStack, *, bus: Bus, objects: Objects, index: Index
) -> Running:
    """Start the service on given ports."""
    if settings.remotes_file is not None:
        known = await asyncio.to_thread(read_file, settings.remotes_file)
        await until_available("database", partial(add_missing, index.remotes, *known))
    state = await _open_state(settings, stack, bus, objects, index)
    await bus.declare(INDEXER)
    await state.uploads.start()
    finds = FindRequests(
        partial(
            handle_find,
            index=index,
            sidecars=state.sidecars,
            page=settings.query_page,
            limits=SearchLimits.from_settings(settings),
        )
    )
    await bus.subscribe(FindCancelled, finds.cancel)
    await bus.serve(FIND, finds.answer)
    await bus.serve(MODALITIES, partial(list_modalities, remotes=index.remotes))
    if settings.prefetch_thumbnails:
        prefetcher = ThumbnailPrefetcher(index, index, index.stability, state.pictures)
        await until_available("database", prefetcher.begin)
        await stack.inputs.enter_async_context(background(prefetcher.run_forever()))
    scratch = state.archives.folder
    jobs = ArchiveJobs(
        writer=state.archives,
        objects=objects,
        folder=scratch,
        keep=settings.archives_kept,
        keep_bytes=settings.archives_kept_bytes,
    )
    runner = JobRunner(index.jobs, jobs.types(), RunnerConfig.from_settings(settings, settings.archive_jobs))
    await stack.resources.enter_async_context(runner)
    checks = {"broker": bus.check, "database": index.check, "objects": objects.check}
    server = http_server(
        create_app(state, checks),
        settings.bind,
        settings.http_port,
        grace=settings.drain_seconds,
        trusted_proxies=settings.http_trusted_proxies,
    )
    port = await stack.inputs.enter_async_context(server)
    return Running(checks=checks, ports={"http": port})


async def _open_state(
    settings: QueryBaseSettings, stack: ServiceStack, bus: Bus, objects: Objects, index: Index
) -> AppState:
    folder = await scratch_dir.enter_scratch_dir(stack.resources, "query")
    uploads = Uploads(
        index=index,
        objects=objects,
        bus=bus,
        wait=settings.upload_index_timeout_seconds,
        folder=folder,
        slots=UploadSlots(settings.max_concurrent_uploads, settings.max_uploads_per_client),
        max_files=settings.max_upload_files,
        pack_size=settings.pack_size_bytes,
    )
    sidecars, locator = Sidecars(objects, memory=SIDECAR_MEMORY), FrameLocator()
    drawer = NativeDrawer(objects, sidecars, locator, memory=settings.render_memory_bytes)
    stack.resources.callback(drawer.close)
    pace = BodyPace(min_bytes_per_second=settings.upload_min_bytes_per_second)
    transcoder = Transcoder(objects, bus, LOSSY, settings.transcode_timeout_seconds)
    archives = ArchiveWriter(index=index, objects=objects, sidecars=sidecars, transcoder=transcoder, folder=folder)
    return AppState(
        settings=settings,
        limits=ApiLimits(body_pace=pace),
        bus=bus,
        index=index,
        totals=index,
        change_log=index,
        conflicts=index,
        reconciliation=index,
        commitments=index.commitments,
        jobs=index.jobs,
        remotes=index.remotes,
        remote_queries=index.queries,
        rules=index.rules,
        circuits=index.circuits,
        user_data=index.user_data,
        objects=objects,
        sidecars=sidecars,
        frame_locator=locator,
        uploads=uploads,
        transcoder=transcoder,
        archives=archives,
        archive_slots=asyncio.Semaphore(settings.max_concurrent_archives),
        pictures=RenderClient(
            bus,
            objects,
            at_once=settings.render_concurrency,
            seconds=settings.render_seconds,
            drawer=drawer,
        ),
    )
