"""Composition root of `indexer`: packs of the object store into the index."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from osteon import metrics
from osteon.archive.ports import ArchiveStatistics
from osteon.background import background
from osteon.bus.port import Bus
from osteon.contracts.topology import COMPARISONS, INDEXER, ROUTER
from osteon.errors import Unavailable
from osteon.index.port import Index
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.runtime import Running
from osteon.service_stack import ServiceStack, service_stack
from osteon.settings import IndexerSettings
from osteon_indexer.comparison import VersionComparer
from osteon_indexer.handlers import compare_conflicts, index_packs
from osteon_indexer.settings import IndexerServiceSettings
from osteon_indexer.sweep import sweep

log = get_logger(__name__)


@asynccontextmanager
async def build(settings: IndexerServiceSettings) -> AsyncIterator[Running]:
    """Start the service on RabbitMQ, S3 and PostgreSQL."""
    async with service_stack() as stack:
        index = await stack.open_index(settings)
        objects = stack.open_objects(settings)
        bus = await stack.open_bus(settings, grace=settings.drain_seconds)
        yield await build_embedded(settings, stack, bus=bus, objects=objects, index=index)


async def build_embedded(
    settings: IndexerSettings, stack: ServiceStack, *, bus: Bus, objects: Objects, index: Index
) -> Running:
    """Start the service on given ports."""
    await bus.declare(ROUTER)  # so that what is indexed before the first dispatcher starts is routed too
    comparer = VersionComparer(objects, bus, limit=settings.compare_max_bytes)
    compare = partial(compare_conflicts, objects=objects, index=index, bus=bus, comparer=comparer)
    await bus.consume(COMPARISONS, compare)
    handler = partial(index_packs, objects=objects, index=index, bus=bus)
    await bus.consume_batches(INDEXER, handler, size=settings.index_batch, linger=settings.index_batch_wait_seconds)
    min_age = timedelta(seconds=settings.sweep_min_age_seconds)
    sweep_once = partial(sweep, objects=objects, index=index, bus=bus, min_age=min_age, comparer=comparer)
    await stack.inputs.enter_async_context(
        background(sweep_forever(settings.sweep_hours, sweep_once), set_gauges_forever(index))
    )
    return Running(checks={"broker": bus.check, "objects": objects.check, "database": index.check})


async def set_gauges_forever(index: ArchiveStatistics, *, seconds: float = 5.0) -> None:
    """Keep the gauges of what the index holds up to date: other processes change it too."""
    while True:
        try:
            await set_gauges(index)
        except Unavailable as error:
            log.debug("archive statistics not available", reason=str(error))
        await asyncio.sleep(seconds)


async def set_gauges(index: ArchiveStatistics) -> None:
    """Set the gauges of what the index holds. Raises `Unavailable`."""
    found = await index.statistics()
    levels = {"patient": found.patients, "study": found.studies, "series": found.series, "instance": found.instances}
    for level, number in levels.items():
        metrics.ARCHIVE_RESOURCES.labels(level).set(number)
    metrics.ARCHIVE_BYTES.set(found.size)
    metrics.CONFLICTS_OPEN.set(found.conflicts)
    metrics.SPLIT_STUDIES.set(found.split_studies)
    metrics.SPLIT_SERIES.set(found.split_series)
    metrics.UNIDENTIFIED_PATIENTS.set(found.unidentified)


async def sweep_forever(hours: float, sweep_once: Callable[[], Awaitable[int]], *, retry: float = 60.0) -> None:
    """Sweep now and every `hours` hours (0: never), or after `retry` seconds when a part was unavailable."""
    while hours:
        pause = hours * 3600
        try:
            await sweep_once()
        except Unavailable as error:
            log.warning("sweep interrupted, retrying", reason=str(error), after=retry)
            pause = retry
        except Exception:
            log.exception("sweep failed")
        await asyncio.sleep(pause)
