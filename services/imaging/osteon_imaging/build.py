"""Composition root of `imaging`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from osteon import scratch_dir
from osteon.background import background
from osteon.bus.port import Bus
from osteon.contracts.topology import DECODE, RENDER, TRANSCODE
from osteon.objects.port import Objects
from osteon.runtime import Running
from osteon.service_stack import ServiceStack, service_stack
from osteon.settings import ImagingSettings
from osteon_imaging.decoding import DecodeService
from osteon_imaging.poison import PoisonCache
from osteon_imaging.render_cache import RenderCache
from osteon_imaging.rendering import RenderService
from osteon_imaging.settings import ImagingServiceSettings
from osteon_imaging.source_cache import SourceCache
from osteon_imaging.task_runner import TaskRunner
from osteon_imaging.transcode_cleanup import delete_expired_forever
from osteon_imaging.transcoding import TranscodeService
from osteon_imaging.worker_pool import WORKER_COMMAND, WorkerPool

_RENDER_REQUESTS: Final = 32
"""Requests for cache that a service takes: those that are kept need no worker, and must not wait for one."""


@asynccontextmanager
async def build(settings: ImagingServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ and S3."""
    async with service_stack() as stack:
        objects = await stack.cache_packs(stack.open_objects(settings), settings, "imaging")
        bus = await stack.open_bus(settings, grace=settings.drain_seconds)
        yield await build_embedded(settings, stack, bus=bus, objects=objects, warm_up=True)


async def build_embedded(
    settings: ImagingSettings,
    stack: ServiceStack,
    *,
    bus: Bus,
    objects: Objects,
    warm_up: bool = False,
    worker_command: Sequence[str] = WORKER_COMMAND,
) -> Running:
    """Start the service on given ports. Worker processes start with the first request, or at once to `warm_up`."""
    resources = stack.resources
    folder = await scratch_dir.enter_scratch_dir(resources, "imaging")
    sources = SourceCache(objects, folder, settings.imaging_sources_bytes)
    resources.push_async_callback(sources.close)
    workers = WorkerPool(
        settings.imaging_workers,
        tasks=settings.imaging_max_tasks_per_worker,
        seconds=settings.imaging_seconds,
        idle=settings.imaging_idle_seconds,
        warm=settings.imaging_min_idle_workers,
        command=worker_command,
    )
    resources.push_async_callback(workers.close)
    poison = PoisonCache(settings.imaging_poison_seconds)
    runner = TaskRunner(settings, sources=sources, workers=workers, poison=poison, folder=folder)
    cache = RenderCache(objects, settings.render_cache_bytes)
    rendering = RenderService(cache, runner)
    resources.push_async_callback(rendering.close)
    await resources.enter_async_context(
        background(delete_expired_forever(objects, settings.imaging_cache_seconds), cache.keep_bounded())
    )
    if warm_up:
        await workers.warm_up()
    transcoding = TranscodeService(objects, runner)
    await bus.serve(TRANSCODE, transcoding.transcode, concurrency=settings.imaging_workers)
    await bus.serve(DECODE, DecodeService(objects, runner).decode, concurrency=settings.imaging_workers)
    await bus.serve(RENDER, rendering.render, concurrency=_RENDER_REQUESTS)
    return Running(checks={"broker": bus.check, "objects": objects.check})
