"""Images of instances, drawn here or by `imaging`: their number and duration are limited, and errors get their type."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

from osteon.archive.resources import Location
from osteon.bus.port import Bus, RequestFailed, RequestTimeout
from osteon.contracts.imaging import RenderReply, RenderRequest
from osteon.contracts.topology import RENDER
from osteon.errors import FailureKind, Unavailable
from osteon.objects.port import Bytes, ObjectNotFound, Objects
from osteon_query.http.errors import (
    BadParameter,
    NotRenderable,
    RenderFailed,
    RenderTimeout,
    StoredDataUnreadable,
    UnknownResource,
)
from osteon_query.images.native_drawer import DrawnPicture, NativeDrawer
from osteon_query.packs.items import one_chunk

_READ_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True)
class RenderedPicture:
    """One or several files, one after the other; `lengths` in bytes. `warning`: what is wrong with their pixel data."""

    media_type: str
    lengths: tuple[int, ...]
    chunks: AsyncGenerator[Bytes, None]
    warning: str = ""

    @property
    def length(self) -> int:
        """Bytes of all files together."""
        return sum(self.lengths)


class RenderClient:
    """Has images rendered: `at_once` at the same time, each within `seconds`, the wait for its turn included.

    `drawer` draws what needs no codec; without it `imaging` does.
    """

    def __init__(
        self, bus: Bus, objects: Objects, *, at_once: int, seconds: float, drawer: NativeDrawer | None = None
    ) -> None:
        self._drawer = drawer
        self._bus = bus
        self._objects = objects
        self._slots = asyncio.Semaphore(at_once)
        self._seconds = seconds

    async def get(self, message: RenderRequest, location: Location) -> RenderedPicture:
        """Return a picture of the instance at `location`.

        Raises `NotRenderable` when the instance cannot be rendered, `UnknownResource` when it has no such frame,
        `BadParameter` when not in this way, `RenderFailed` when the worker was killed, `RenderTimeout`, and
        `Unavailable` when `imaging` or the object store is down.
        """
        if drawn := await self._draw(message, location):
            return RenderedPicture(drawn.media_type, (len(drawn.data),), one_chunk(drawn.data), drawn.warning)
        answer = await self.request(message)
        lengths = tuple(answer.frames) or (answer.length,)
        return RenderedPicture(answer.media_type, lengths, self._chunks(message, answer), answer.warning)

    async def request(self, message: RenderRequest) -> RenderReply:
        """Return the reply, which describes images. Raises as `get` does."""
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                return await self._bus.request(
                    RENDER, message.model_copy(update={"seconds": self._seconds}), timeout=self._seconds
                )
        except (TimeoutError, RequestTimeout):
            raise self._late from None
        except RequestFailed as error:
            raise _error(error) from error

    def draws(self, message: RenderRequest, location: Location) -> bool:
        """Whether a picture is drawn here, so that it need not be made in advance."""
        return self._drawer is not None and self._drawer.can_draw(location, message)

    async def _draw(self, message: RenderRequest, location: Location) -> DrawnPicture | None:
        if self._drawer is None:
            return None
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                return await self._drawer.draw(location, message)
        except TimeoutError:
            raise self._late from None

    @property
    def _late(self) -> RenderTimeout:
        return RenderTimeout(f"no image within {self._seconds:g} s (OSTEON_RENDER_SECONDS); try again")

    async def _chunks(self, message: RenderRequest, answer: RenderReply) -> AsyncGenerator[Bytes, None]:
        for _ in range(_READ_ATTEMPTS):
            if answer.data:
                yield answer.data
                return
            try:
                async for chunk in self._objects.stream(answer.key, 0, answer.length):
                    yield chunk
                return
            except ObjectNotFound:
                # It was evicted from the cache since the reply; the same request has the same reply.
                answer = await self.request(message)
        raise StoredDataUnreadable(
            f"{answer.key} was evicted from the cache before it was read (OSTEON_RENDER_CACHE_BYTES)"
        )


def require_picture(picture: RenderedPicture | NotRenderable) -> RenderedPicture:
    """Return an image of `render_in_order`; raises the error of one that was not rendered."""
    if isinstance(picture, NotRenderable):
        raise picture
    return picture


async def render_in_order(
    pictures: RenderClient, messages: AsyncIterator[tuple[RenderRequest, Location]], *, prefetch: int = 4
) -> AsyncGenerator[RenderedPicture | NotRenderable, None]:
    """Yield an image for each message, or its error; some are rendered while others are sent."""
    tasks: list[asyncio.Task[RenderedPicture | NotRenderable]] = []
    try:
        async for message, location in messages:
            tasks.append(asyncio.create_task(_get_or_reason(pictures, message, location)))
            if len(tasks) >= prefetch:
                yield await tasks.pop(0)
        while tasks:
            yield await tasks.pop(0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _get_or_reason(
    pictures: RenderClient, message: RenderRequest, location: Location
) -> RenderedPicture | NotRenderable:
    try:
        return await pictures.get(message, location)
    except NotRenderable as error:
        return error


def picture_request(location: Location, correlation_id: str, **wanted: object) -> RenderRequest:
    """Return the request for a picture of an instance; `wanted` are fields of `RenderRequest`."""
    where = {"key": location.key, "offset": location.offset, "length": location.length}
    return RenderRequest.model_validate({"correlation_id": correlation_id, **where, **wanted})


def _error(error: RequestFailed) -> Exception:
    reason = f"not rendered: {error}"
    match error.kind:
        case FailureKind.INVALID:
            return BadParameter(reason)
        case FailureKind.NOT_FOUND:
            return UnknownResource(reason)
        case FailureKind.UNSUPPORTED:
            return NotRenderable(reason)
        case FailureKind.UNAVAILABLE:
            return Unavailable(reason)
        case FailureKind.TIMEOUT:
            return RenderTimeout(reason)
        case _:
            return RenderFailed(reason)
