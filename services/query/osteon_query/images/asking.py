"""Asks `imaging` for pictures: so many at a time, for so long, and what an answer without a picture means."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from osteon.bus.port import Bus, RequestFailed, RequestTimeout
from osteon.contracts.imaging import Rendered, RenderRequested
from osteon.contracts.topology import RENDER
from osteon.errors import FailureKind, Unavailable
from osteon.index.port import Location
from osteon.objects.port import Bytes, ObjectNotFound, Objects
from osteon_query.http.errors import BadParameter, NotRenderable, RenderFailed, RenderTimeout, Unreadable

_READINGS: Final = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """One or several files, one after the other; `lengths` in bytes."""

    media_type: str
    lengths: tuple[int, ...]
    chunks: AsyncGenerator[Bytes, None]

    @property
    def length(self) -> int:
        """Bytes of all files."""
        return sum(self.lengths)


class Pictures:
    """Has pictures made: `at_once` at the same time, each within `seconds`, the wait for its turn included."""

    def __init__(self, bus: Bus, objects: Objects, *, at_once: int, seconds: float) -> None:
        self._bus = bus
        self._objects = objects
        self._turn = asyncio.Semaphore(at_once)
        self._seconds = seconds

    async def get(self, message: RenderRequested) -> Picture:
        """Return a picture.

        Raises `NotRenderable` when there can be none, `BadParameter` when not this one, `RenderFailed` when the decoder
        did not live through it, `RenderTimeout`, and `Unavailable` when `imaging` or the object store is down.
        """
        answer = await self.ask(message)
        lengths = tuple(answer.frames) or (answer.length,)
        return Picture(answer.media_type, lengths, self._chunks(message, answer))

    async def ask(self, message: RenderRequested) -> Rendered:
        """Return the answer, which tells of pictures. Raises as `get` does."""
        try:
            async with asyncio.timeout(self._seconds), self._turn:
                return await self._bus.request(
                    RENDER, message.model_copy(update={"seconds": self._seconds}), timeout=self._seconds
                )
        except (TimeoutError, RequestTimeout):
            raise RenderTimeout(
                f"no picture within {self._seconds:g} s (OSTEON_RENDER_SECONDS); it may be asked for again"
            ) from None
        except RequestFailed as error:
            raise _error(error) from error

    async def _chunks(self, message: RenderRequested, answer: Rendered) -> AsyncGenerator[Bytes, None]:
        for _ in range(_READINGS):
            if answer.data:
                yield answer.data
                return
            try:
                async with aclosing(_generator(self._objects.stream(answer.key, 0, answer.length))) as stream:
                    async for chunk in stream:
                        yield chunk
                return
            except ObjectNotFound:
                # It went from the cache between the answer and now; the same request has the same answer.
                answer = await self.ask(message)
        raise Unreadable(f"{answer.key} goes from the cache faster than it can be read (OSTEON_RENDER_CACHE)")


async def in_order(
    pictures: Pictures, messages: AsyncIterator[RenderRequested], *, ahead: int = 4
) -> AsyncGenerator[Picture | NotRenderable, None]:
    """Yield a picture for each message, or why there is none; some are made while others are sent."""
    tasks: list[asyncio.Task[Picture | NotRenderable]] = []
    try:
        async for message in messages:
            tasks.append(asyncio.create_task(_tried(pictures, message)))
            if len(tasks) >= ahead:
                yield await tasks.pop(0)
        while tasks:
            yield await tasks.pop(0)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tried(pictures: Pictures, message: RenderRequested) -> Picture | NotRenderable:
    try:
        return await pictures.get(message)
    except NotRenderable as error:
        return error


def picture_request(location: Location, correlation_id: str, **wanted: object) -> RenderRequested:
    """Return the request for a picture of an instance; `wanted` are fields of `RenderRequested`."""
    where = {"key": location.key, "offset": location.offset, "length": location.length}
    return RenderRequested.model_validate({"correlation_id": correlation_id, **where, **wanted})


def _error(error: RequestFailed) -> Exception:
    reason = f"no picture: {error}"
    match error.kind:
        case FailureKind.INVALID:
            return BadParameter(reason)
        case FailureKind.UNSUPPORTED:
            return NotRenderable(reason)
        case FailureKind.UNAVAILABLE:
            return Unavailable(reason)
        case FailureKind.TIMEOUT:
            return RenderTimeout(reason)
        case _:
            return RenderFailed(reason)


async def _generator(stream: AsyncIterator[Bytes]) -> AsyncGenerator[Bytes, None]:
    async for chunk in stream:
        yield chunk
