"""Streamed responses: errors before the first byte, HEAD, and read-ahead."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from osteon.background import background
from osteon.objects.port import Bytes
from osteon_query.http.middleware import HEAD

T = TypeVar("T")

_SENT_AT_ONCE: Final = 1 << 20
"""A response of fewer bytes is sent by one write."""


class StreamedResponse(StreamingResponse):
    """A streamed response, `first` and then `rest`, which is closed at once when the client goes away."""

    def __init__(
        self, first: list[Bytes], rest: AsyncGenerator[Bytes, None], status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(rest, status, headers)
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as in ASGI
        """Send the response; `CancelAbandonedMiddleware` watches the client.

        Without Starlette's scopes of anyio, in which whatever a source awaits while it is closed is cancelled as well.
        """
        try:
            await self.stream_response(send)
        finally:
            await self._rest.aclose()

    @override
    async def stream_response(self, send: Send) -> None:
        """Send status, headers and chunks as they are."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while self._first:
            await send({"type": "http.response.body", "body": self._first.pop(0), "more_body": True})
        async for chunk in self._rest:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def stream_response(
    request: Request, source: AsyncGenerator[Bytes, None], headers: Mapping[str, str], status: int = 200
) -> Response:
    """Send `source`; an error in its first MiB still gets its own status. HEAD reads the first step only."""
    head = bool(request.scope.get(HEAD))
    left = 1 if head else _SENT_AT_ONCE
    first: list[Bytes] = []
    async for chunk in source:
        first.append(chunk)
        left -= len(chunk)
        if left <= 0:
            break
    if head:
        await source.aclose()
        return Response(None, status, headers)
    if left > 0:
        return Response(first[0] if len(first) == 1 else b"".join(first), status, headers)
    return StreamedResponse(first, source, status, headers)


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
