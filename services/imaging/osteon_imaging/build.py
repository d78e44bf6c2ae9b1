"""Composition root of `imaging`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from osteon.bus.port import Bus
from osteon.bus.rabbit import RabbitBus
from osteon.contracts.topology import TRANSCODE
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.runtime import Running
from osteon.settings import ImagingSettings
from osteon_imaging.cache import clean_for_ever
from osteon_imaging.handlers import Imaging
from osteon_imaging.poison import Poison
from osteon_imaging.settings import ImagingServiceSettings
from osteon_imaging.workers import Workers


@asynccontextmanager
async def build(settings: ImagingServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ and S3."""
    async with AsyncExitStack() as stack:
        objects = S3Objects.from_settings(settings)
        stack.callback(objects.close)
        bus = RabbitBus(settings.amqp_url.get_secret_value())
        await bus.start()
        await stack.enter_async_context(build_embedded(settings, bus=bus, objects=objects))
        stack.push_async_callback(bus.close, grace=settings.drain_seconds)
        yield Running(checks={"broker": bus.check, "objects": objects.check})


@asynccontextmanager
async def build_embedded(settings: ImagingSettings, *, bus: Bus, objects: Objects) -> AsyncIterator[None]:
    """Start the service on given ports. Worker processes start with the first request."""
    workers = Workers(
        settings.imaging_workers,
        tasks=settings.imaging_recycle,
        seconds=settings.imaging_seconds,
        idle=settings.imaging_idle_seconds,
    )
    imaging = Imaging(settings, objects=objects, workers=workers, poison=Poison(settings.imaging_poison_seconds))
    cleaning = asyncio.create_task(clean_for_ever(objects, settings.imaging_cache_seconds))
    try:
        await bus.serve(TRANSCODE, imaging.transcode, concurrency=settings.imaging_workers)
        yield
    finally:
        cleaning.cancel()
        await asyncio.gather(cleaning, return_exceptions=True)
        await workers.close()
