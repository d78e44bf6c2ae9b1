"""Streamed answers: read-ahead, errors before the first byte, byte ranges, and HEAD."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from osteon.background import background
from osteon.objects.port import Bytes
from osteon_query.http.errors import RangeNotSatisfiable
from osteon_query.http.middleware import HEAD

T = TypeVar("T")

_AT_ONCE: Final = 1 << 20
"""Bytes of an answer that are sent by one write when there are no more."""
_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class Streamed(StreamingResponse):
    """A streamed answer, `first` and then `rest`, which is closed at once when the client goes away."""

    def __init__(
        self, first: list[Bytes], rest: AsyncGenerator[Bytes, None], status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(_joined(first, rest), status, headers)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as in ASGI
        """Send the answer.

        By plain tasks: in the scopes of anyio, which Starlette uses, whatever a source awaits while it is closed is
        cancelled as well.
        """
        sending = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._rest.aclose()


async def streamed(
    request: Request, source: AsyncGenerator[Bytes, None], headers: Mapping[str, str], status: int = 200
) -> Response:
    """Answer with `source`; an error in its first MiB still gets its own status. HEAD reads its first step only."""
    head = bool(request.scope.get(HEAD))
    first, ended = await _beginning(source, 1 if head else _AT_ONCE)
    if head:
        await source.aclose()
        return Response(None, status, headers)
    if ended:
        return Response(first[0] if len(first) == 1 else b"".join(first), status, headers)
    return Streamed(first, source, status, headers)


async def _beginning(source: AsyncGenerator[Bytes, None], size: int) -> tuple[list[Bytes], bool]:
    """Return at least the first `size` bytes, in chunks, and whether they are all."""
    first: list[Bytes] = []
    async for chunk in source:
        first.append(chunk)
        size -= len(chunk)
        if size <= 0:
            return first, False
    return first, True


async def _joined(first: list[Bytes], rest: AsyncGenerator[Bytes, None]) -> AsyncGenerator[Bytes, None]:
    while first:
        yield first.pop(0)
    async for chunk in rest:
        yield chunk


async def read_ahead(source: AsyncGenerator[T, None], depth: int) -> AsyncGenerator[T, None]:
    """Yield what `source` yields, which runs up to `depth` items ahead in a task of its own."""
    queue: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue(depth)

    async def fill() -> None:
        try:
            async with aclosing(source):
                async for item in source:
                    await queue.put((item,))
        except Exception as error:
            await queue.put(error)
        else:
            await queue.put(None)

    async with background(fill()):
        while (got := await queue.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Part of a resource: `length` bytes at `offset` of `total`; `partial` when the client asked for a range."""

    offset: int
    length: int
    total: int
    partial: bool

    @property
    def status(self) -> int:
        """206 for a part, else 200."""
        return 206 if self.partial else 200

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe it (RFC 9110 14.4)."""
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(self.length)}
        if self.partial:
            headers["Content-Range"] = f"bytes {self.offset}-{self.offset + self.length - 1}/{self.total}"
        return headers


def byte_range(request: Request, total: int, tag: str = "") -> ByteRange:
    """Read the Range header (RFC 9110 14.2). One range is served; another unit, or nonsense, gives the whole.

    Ranges are for GET only; If-Range must name `tag`. Raises `RangeNotSatisfiable` when the range begins behind the
    end, and for several at once.
    """
    text = request.headers.get("range", "").replace(" ", "")
    if request.scope.get(HEAD) or request.headers.get("if-range", tag) != tag:
        return ByteRange(0, total, total, partial=False)
    if text.startswith("bytes=") and len([each for each in text[6:].split(",") if each]) > 1:
        raise RangeNotSatisfiable(f"one range of bytes is served at a time, not {text[:80]}")
    found = _RANGE.fullmatch(text)
    if found is None or not any(found.groups()):
        return ByteRange(0, total, total, partial=False)
    first, last = found.groups()
    start = int(first) if first else max(0, total - int(last))
    stop = min(int(last) + 1, total) if first and last else total
    if first and last and int(last) < int(first):
        return ByteRange(0, total, total, partial=False)
    if start >= stop:
        raise RangeNotSatisfiable(f"the range {found[0]} lies beyond the end: the resource has {total} bytes")
    return ByteRange(start, stop - start, total, partial=True)
