"""Responses of type multipart/related (PS3.18 8.6.1.2)."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from osteon.objects.port import Bytes
from osteon_query.http.accept import MULTIPART
from osteon_query.http.streaming import stream_response
from osteon_query.packs.items import ItemStart, ItemStream, SentCounter

_JOINED: Final = 64 << 10
"""Bytes of a chunk that is copied behind the head of its part: one write costs more than that."""


class MultipartWriter:
    """Writes items as parts of one multipart/related body; `media_type` is the type of its parts."""

    def __init__(self, media_type: str) -> None:
        self._boundary: Final = uuid4().hex
        self.content_type: Final = f'{MULTIPART}; type="{media_type}"; boundary={self._boundary}'
        self._end: Final = f"\r\n--{self._boundary}--\r\n".encode()

    def head(self, part: ItemStart, *, first: bool) -> bytes:
        """Return what precedes the content of a part."""
        before = "" if first else "\r\n"
        length = "" if part.length is None else f"Content-Length: {part.length}\r\n"
        location = f"Content-Location: {part.location}\r\n" if part.location else ""
        return f"{before}--{self._boundary}\r\nContent-Type: {part.media_type}\r\n{length}{location}\r\n".encode()

    def length(self, parts: Sequence[ItemStart]) -> int | None:
        """Return the length of the whole body in bytes; None when that of a part is unknown."""
        total = len(self._end)
        for number, part in enumerate(parts):
            if part.length is None:
                return None
            total += len(self.head(part, first=not number)) + part.length
        return total

    async def write(self, items: ItemStream, counter: SentCounter | None = None) -> AsyncGenerator[Bytes, None]:
        """Yield the body; raises what `items` raises."""
        head, first = b"", True
        async with aclosing(items):
            async for item in items:
                if counter is not None:
                    counter.count(item)
                if isinstance(item, ItemStart):
                    if head:
                        yield head
                    head, first = self.head(item, first=first), False
                    continue
                if head and len(item) > _JOINED:
                    yield head
                    head = b""
                yield b"".join((head, item)) if head else item
                head = b""
        if head:
            yield head
        yield self._end


async def send_multipart(
    request: Request,
    items: ItemStream,
    media_type: str,
    *,
    headers: Mapping[str, str] | None = None,
    parts: Sequence[ItemStart] | None = None,
    status: int = 200,
    purpose: str = "",
) -> Response:
    """Send items as parts of type `media_type`.

    `parts` are the starts of all items, when they are known before. Items and bytes are counted under `purpose`, where
    their source does not do that.
    """
    writer = MultipartWriter(media_type)
    sent = {"Content-Type": writer.content_type, **(headers or {})}
    if parts is not None and (length := writer.length(parts)) is not None:
        sent["Content-Length"] = str(length)
    return await stream_response(request, writer.write(items, SentCounter(purpose) if purpose else None), sent, status)
