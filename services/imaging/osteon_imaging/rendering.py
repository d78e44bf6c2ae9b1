"""Rendering: pictures out of the cache, or made by a worker and kept there."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from osteon import metrics
from osteon.contracts.imaging import INLINE_BYTES, RenderReply, RenderRequest
from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon_imaging.priority_semaphore import Urgency
from osteon_imaging.render_cache import RenderCache, RenderedFiles
from osteon_imaging.source_cache import ObjectRange
from osteon_imaging.task_runner import TaskAttempt, TaskRunner
from osteon_imaging.tasks import RenderTask, Task, TaskOutcome

log = get_logger(__name__)

_MAX_BACKGROUND_WRITES: Final = 64
"""Pictures that wait to be kept at most, each of `INLINE_BYTES` at most; further ones are not."""


class RenderService:
    """Answers requests for pictures; equal ones at the same time are one."""

    def __init__(self, cache: RenderCache, runner: TaskRunner) -> None:
        self._cache = cache
        self._runner = runner
        self._flights: dict[tuple[str, bool], asyncio.Task[RenderReply]] = {}
        self._writes: set[asyncio.Task[None]] = set()

    async def render(self, message: RenderRequest) -> RenderReply:
        """Return the pictures, or where they are. Raises `TaskFailed`, `ObjectsUnavailable`."""
        key = message.cache_key
        alike = (key, message.background)
        flight = self._flights.get(alike)
        if flight is None:
            flight = self._flights[alike] = asyncio.create_task(self._render(message, key))
            flight.add_done_callback(lambda _: self._flights.pop(alike, None))
        answer = await asyncio.shield(flight)
        return answer.model_copy(update={"correlation_id": message.correlation_id})

    async def close(self) -> None:
        """Wait until what was made is kept."""
        await asyncio.gather(*self._flights.values(), *self._writes, return_exceptions=True)

    async def _render(self, message: RenderRequest, key: str) -> RenderReply:
        if picture := await self._cache.get(key):
            metrics.RENDER_CACHE_REQUESTS.labels("hit").inc()
            return _answer(message, key, picture)
        metrics.RENDER_CACHE_REQUESTS.labels("miss").inc()
        part = ObjectRange(message.key, message.offset, message.length)
        options = message.options

        def task(common: Task) -> RenderTask:
            return RenderTask(**common.model_dump(), options=options)

        attempt = TaskAttempt(
            request=key,
            part=part,
            task=task,
            urgency=Urgency.LATER if message.background else Urgency.NOW,
            seconds=message.seconds,
        )
        began = time.perf_counter()
        async with self._runner.run(attempt) as (outcome, result):
            picture = await self._store(message, key, outcome, result)
        metrics.RENDER_SECONDS.labels(outcome.source_uid, message.mode).observe(time.perf_counter() - began)
        return _answer(message, key, picture)

    async def _store(self, message: RenderRequest, key: str, outcome: TaskOutcome, result: Path) -> RenderedFiles:
        """Return what was made; a small one is kept later, and not at all when it is but samples of a frame."""
        metrics.RENDERED_BYTES.labels(outcome.media_type).inc(outcome.length)
        picture = RenderedFiles(outcome.media_type, outcome.lengths, outcome.source_uid, warning=outcome.warning)
        if outcome.length > INLINE_BYTES:
            await self._cache.put(key, picture, result)
            return picture
        data = await asyncio.to_thread(result.read_bytes)
        picture = replace(picture, data=data)
        if message.mode != "frames" and len(self._writes) < _MAX_BACKGROUND_WRITES:
            write = asyncio.create_task(self._put(key, picture))
            self._writes.add(write)
            write.add_done_callback(self._writes.discard)
        return picture

    async def _put(self, key: str, picture: RenderedFiles) -> None:
        try:
            await self._cache.put(key, picture)
        except OsteonError as error:
            log.warning("picture not cached", key=key, reason=str(error))


def _answer(message: RenderRequest, key: str, picture: RenderedFiles) -> RenderReply:
    return RenderReply(
        correlation_id=message.correlation_id,
        key=key,
        data=picture.data,
        length=picture.length,
        frames=list(picture.lengths) if len(picture.lengths) > 1 else [],
        media_type=picture.media_type,
        warning=picture.warning,
    )
