"""Byte ranges of responses (RFC 9110 14)."""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from osteon.objects.port import Bytes
from osteon_query.http.errors import RangeNotSatisfiable
from osteon_query.http.middleware import HEAD
from osteon_query.http.streaming import stream_response

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Part of a resource: `length` bytes at `offset` of `total`; `partial` when the client requested a range."""

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
        raise RangeNotSatisfiable(f"one byte range per request is supported, not {text[:80]}", total)
    found = _RANGE.fullmatch(text)
    if found is None or not any(found.groups()):
        return ByteRange(0, total, total, partial=False)
    first, last = found.groups()
    start = int(first) if first else max(0, total - int(last))
    stop = min(int(last) + 1, total) if first and last else total
    if first and last and int(last) < int(first):
        return ByteRange(0, total, total, partial=False)
    if start >= stop:
        raise RangeNotSatisfiable(f"the range {found[0]} starts beyond the end: the resource has {total} bytes", total)
    return ByteRange(start, stop - start, total, partial=True)


async def send_range(
    request: Request,
    source: Callable[[int, int], AsyncGenerator[Bytes, None]],
    total: int,
    headers: Mapping[str, str],
) -> Response:
    """Send what `source` gives for (offset, length): all `total` bytes, or the requested range."""
    part = byte_range(request, total, headers.get("ETag", ""))
    return await stream_response(request, source(part.offset, part.length), {**headers, **part.headers}, part.status)


async def send_bytes(request: Request, data: bytes, headers: Mapping[str, str]) -> Response:
    """Send bytes, or the requested range."""

    async def source(offset: int, length: int) -> AsyncGenerator[Bytes, None]:
        yield data[offset : offset + length]

    return await send_range(request, source, len(data), headers)
