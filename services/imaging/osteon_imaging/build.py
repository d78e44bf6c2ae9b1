"""Composition root of `imaging`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from osteon import work_folder
from osteon.bus.port import Bus
from osteon.bus.rabbit import RabbitBus
from osteon.contracts.topology import RENDER, TRANSCODE
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.runtime import Running
from osteon.settings import ImagingSettings
from osteon_imaging.poison import PoisonCache
from osteon_imaging.render_cache import RenderCache
from osteon_imaging.rendering import RenderService
from osteon_imaging.settings import ImagingServiceSettings
from osteon_imaging.source_cache import SourceCache
from osteon_imaging.task_runner import TaskRunner
from osteon_imaging.transcode_cleanup import delete_expired_forever
from osteon_imaging.transcoding import TranscodeService
from osteon_imaging.worker_pool import WorkerPool

_RENDER_REQUESTS: Final = 32
"""Requests for cache that a service takes: those that are kept need no worker, and must not wait for one."""


@asynccontextmanager
async def build(settings: ImagingServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ and S3."""
    async with AsyncExitStack() as stack:
        objects = S3Objects.from_settings(settings)
        stack.callback(objects.close)
        bus = RabbitBus(settings.amqp_url.get_secret_value())
        await bus.start()
        await stack.enter_async_context(build_embedded(settings, bus=bus, objects=objects, ready=True))
        stack.push_async_callback(bus.close, grace=settings.drain_seconds)
        yield Running(checks={"broker": bus.check, "objects": objects.check})


@asynccontextmanager
async def build_embedded(
    settings: ImagingSettings, *, bus: Bus, objects: Objects, ready: bool = False
) -> AsyncIterator[None]:
    """Start the service on given ports. Worker processes start with the first request, or at once to be `ready`."""
    async with AsyncExitStack() as stack:
        folder = await work_folder.lend(stack, "imaging")
        sources = SourceCache(objects, folder, settings.imaging_sources)
        stack.push_async_callback(sources.close)
        workers = _workers(settings)
        stack.push_async_callback(workers.close)
        runner = TaskRunner(
            settings,
            sources=sources,
            workers=workers,
            poison=PoisonCache(settings.imaging_poison_seconds),
            folder=folder,
        )
        cache = RenderCache(objects, settings.render_cache)
        rendering = RenderService(cache, runner)
        stack.push_async_callback(rendering.close)
        tasks = [
            asyncio.create_task(delete_expired_forever(objects, settings.imaging_cache_seconds)),
            asyncio.create_task(cache.keep_bounded()),
        ]
        stack.push_async_callback(_cancel, tasks)
        if ready:
            await workers.warm_up()
        transcoding = TranscodeService(objects, runner)
        await bus.serve(TRANSCODE, transcoding.transcode, concurrency=settings.imaging_workers)
        await bus.serve(RENDER, rendering.render, concurrency=_RENDER_REQUESTS)
        yield


def _workers(settings: ImagingSettings) -> WorkerPool:
    return WorkerPool(
        settings.imaging_workers,
        tasks=settings.imaging_recycle,
        seconds=settings.imaging_seconds,
        idle=settings.imaging_idle_seconds,
        warm=settings.imaging_warm,
    )


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
