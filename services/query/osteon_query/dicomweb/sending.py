"""Instances on the wire: multipart/related (PS3.18 8.6.1.2), ZIP archives and single files."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.resources import Location
from osteon.objects.port import Bytes, Objects
from osteon_query.http.accept import DICOM, MULTIPART
from osteon_query.http.streaming import byte_range, streamed
from osteon_query.http.validators import entity_tag, not_modified, validators
from osteon_query.packs.retrieval import read_range


@dataclass(frozen=True, slots=True)
class Part:
    """A part of this media type begins; `length` in bytes when it is known, `location`: its own URL."""

    kind: str
    length: int | None = None
    location: str = ""


class Parts:
    """Encodes multipart/related whose parts are of type `kind`."""

    def __init__(self, kind: str) -> None:
        self._boundary: Final = uuid4().hex
        self.content_type: Final = f'{MULTIPART}; type="{kind}"; boundary={self._boundary}'
        self._end: Final = f"\r\n--{self._boundary}--\r\n".encode()

    def head(self, part: Part, *, first: bool) -> bytes:
        """Return what stands before the content of a part."""
        before = "" if first else "\r\n"
        length = "" if part.length is None else f"Content-Length: {part.length}\r\n"
        location = f"Content-Location: {part.location}\r\n" if part.location else ""
        return f"{before}--{self._boundary}\r\nContent-Type: {part.kind}\r\n{length}{location}\r\n".encode()

    def length(self, parts: list[Part]) -> int | None:
        """Return the length of the whole body in bytes; None when that of a part is not known."""
        total = len(self._end)
        for number, part in enumerate(parts):
            if part.length is None:
                return None
            total += len(self.head(part, first=not number)) + part.length
        return total

    async def encode(self, items: AsyncGenerator[Part | Bytes, None]) -> AsyncGenerator[Bytes, None]:
        """Write parts and their contents."""
        first = True
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Part):
                    yield self.head(item, first=first)
                    first = False
                else:
                    yield item
        yield self._end


async def send_parts(
    request: Request,
    items: AsyncGenerator[Part | Bytes, None],
    kind: str,
    *,
    headers: Mapping[str, str] | None = None,
    known: list[Part] | None = None,
    status: int = 200,
) -> Response:
    """Answer with multipart/related whose parts are of type `kind`; `known`: all of them, when that is known."""
    parts = Parts(kind)
    every = {"Content-Type": parts.content_type, **(headers or {})}
    if known is not None and (length := parts.length(known)) is not None:
        every["Content-Length"] = str(length)
    return await streamed(request, parts.encode(items), every, status)


async def one_part(source: AsyncGenerator[Bytes, None], part: Part) -> AsyncGenerator[Part | Bytes, None]:
    """Make a part out of `source`."""
    yield part
    async with aclosing(source):
        async for chunk in source:
            yield chunk


def part_of(transfer_syntax_uid: str, length: int) -> Part:
    """Return the part of a Part 10 file."""
    return Part(f"{DICOM}; transfer-syntax={transfer_syntax_uid}", length)


async def send_file(
    request: Request, objects: Objects, location: Location, *, way: str, filename: str | None = None
) -> Response:
    """Send one Part 10 file as stored, or the byte range of it that was asked for."""
    tag = entity_tag(location.sha256, location.key, location.offset)
    if known := not_modified(request, tag):
        return known
    headers = {**validators(tag, location), "Content-Type": f"{DICOM}; transfer-syntax={location.transfer_syntax_uid}"}
    if filename is not None:
        headers["Content-Type"] = DICOM
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'

    metrics.HTTP_ITEMS_SENT.labels(way).inc()

    def source(offset: int, length: int) -> AsyncGenerator[Bytes, None]:
        return counted(read_range(objects, location.key, location.offset + offset, length), way)

    return await send_range(request, source, location.length, headers)


async def send_range(
    request: Request,
    source: Callable[[int, int], AsyncGenerator[Bytes, None]],
    total: int,
    headers: Mapping[str, str],
) -> Response:
    """Send what `source` gives for (offset, length): all `total` bytes, or the range of them that was asked for."""
    part = byte_range(request, total, headers.get("ETag", ""))
    return await streamed(request, source(part.offset, part.length), {**headers, **part.headers}, part.status)


async def send_bytes(request: Request, data: bytes, headers: Mapping[str, str]) -> Response:
    """Send bytes, or the range of them that was asked for."""

    async def source(offset: int, length: int) -> AsyncGenerator[Bytes, None]:
        yield data[offset : offset + length]

    return await send_range(request, source, len(data), headers)


async def counted(source: AsyncGenerator[Bytes, None], way: str) -> AsyncGenerator[Bytes, None]:
    """Pass chunks on and count their bytes under the label `way`."""
    async with aclosing(source):
        async for chunk in source:
            metrics.HTTP_BYTES_SENT.labels(way).inc(len(chunk))
            yield chunk
