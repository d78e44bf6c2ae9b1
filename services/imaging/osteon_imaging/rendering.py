"""Rendering: pictures out of the cache, or made by a worker and kept there."""

import asyncio
import time
from pathlib import Path
from typing import Final

from osteon import metrics
from osteon.contracts.imaging import INLINE_BYTES, Rendered, RenderRequested
from osteon.dicom.pixels.orders import RenderOrder, Viewport, Window
from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon_imaging.attempts import Attempt, Attempts
from osteon_imaging.pictures import Picture, Pictures
from osteon_imaging.sources import Part
from osteon_imaging.tasks import Outcome, RenderTask, Task
from osteon_imaging.turns import Urgency

log = get_logger(__name__)

_KEPT_LATER: Final = 64
"""Pictures that wait to be kept at most, each of `INLINE_BYTES` at most; further ones are not."""


class Rendering:
    """Answers requests for pictures; equal ones at the same time are one."""

    def __init__(self, pictures: Pictures, attempts: Attempts) -> None:
        self._pictures = pictures
        self._attempts = attempts
        self._flights: dict[tuple[str, bool], asyncio.Task[Rendered]] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    async def render(self, message: RenderRequested) -> Rendered:
        """Return the pictures, or where they are. Raises `TaskFailed`, `ObjectsUnavailable`."""
        key = message.cache_key
        alike = (key, message.ahead)
        flight = self._flights.get(alike)
        if flight is None:
            flight = self._flights[alike] = asyncio.create_task(self._rendered(message, key))
            flight.add_done_callback(lambda _: self._flights.pop(alike, None))
        answer = await asyncio.shield(flight)
        return answer.model_copy(update={"correlation_id": message.correlation_id})

    async def close(self) -> None:
        """Wait until what was made is kept."""
        await asyncio.gather(*self._flights.values(), *self._keeping, return_exceptions=True)

    async def _rendered(self, message: RenderRequested, key: str) -> Rendered:
        if picture := await self._pictures.get(key):
            metrics.RENDER_CACHE.labels("hit").inc()
            return _answer(message, key, picture)
        metrics.RENDER_CACHE.labels("miss").inc()
        part = Part(message.key, message.offset, message.length)
        order = order_of(message)

        def task(common: Task) -> RenderTask:
            return RenderTask(**common.model_dump(), order=order)

        attempt = Attempt(
            request=key,
            part=part,
            task=task,
            urgency=Urgency.LATER if message.ahead else Urgency.NOW,
            seconds=message.seconds,
        )
        began = time.perf_counter()
        async with self._attempts.made(attempt) as (outcome, result):
            picture = await self._keep(message, key, outcome, result)
        metrics.RENDER_SECONDS.labels(outcome.source_uid, message.how).observe(time.perf_counter() - began)
        return _answer(message, key, picture)

    async def _keep(self, message: RenderRequested, key: str, outcome: Outcome, result: Path) -> Picture:
        """Return what was made; a small one is kept later, and not at all when it is but samples of a frame."""
        metrics.RENDERED_BYTES.labels(outcome.media_type).inc(outcome.length)
        picture = Picture(outcome.media_type, outcome.lengths, outcome.source_uid)
        if outcome.length > INLINE_BYTES:
            await self._pictures.put(key, picture, result)
            return picture
        data = await asyncio.to_thread(result.read_bytes)
        picture = Picture(outcome.media_type, outcome.lengths, outcome.source_uid, data)
        if message.how != "frames" and len(self._keeping) < _KEPT_LATER:
            keeping = asyncio.create_task(self._put(key, picture))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)
        return picture

    async def _put(self, key: str, picture: Picture) -> None:
        try:
            await self._pictures.put(key, picture)
        except OsteonError as error:
            log.warning("picture not kept", key=key, reason=str(error))


def order_of(message: RenderRequested) -> RenderOrder:
    """Return what a worker understands."""
    return RenderOrder(
        how=message.how,
        media_type=message.media_type,
        frames=tuple(message.frames),
        quality=message.quality,
        window=Window(*message.window) if message.window else None,
        viewport=Viewport(*message.viewport) if message.viewport else None,
        width=message.width,
        height=message.height,
        smooth=message.smooth,
        rescale=message.rescale,
        compress=message.compress,
    )


def _answer(message: RenderRequested, key: str, picture: Picture) -> Rendered:
    return Rendered(
        correlation_id=message.correlation_id,
        key=key,
        data=picture.data,
        length=picture.length,
        frames=list(picture.lengths) if len(picture.lengths) > 1 else [],
        media_type=picture.media_type,
    )
