"""Instances on the wire: multipart/related (PS3.18 8.6.1.2) and single files."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.index.port import Location
from osteon.objects.port import Objects
from osteon_query.http.accept import DICOM, MULTIPART
from osteon_query.http.streaming import Bytes, byte_range, streamed
from osteon_query.packs.retrieval import read_range

Item = Location | str | Bytes
"""A location or a media type begins a part, bytes are its content."""


async def send_parts(request: Request, items: AsyncGenerator[Item, None], kind: str) -> Response:
    """Answer with multipart/related whose parts are of type `kind`."""
    boundary = uuid4().hex
    headers = {"Content-Type": f'{MULTIPART}; type="{kind}"; boundary={boundary}'}
    return await streamed(request, _encode_parts(items, boundary), headers)


async def _encode_parts(items: AsyncGenerator[Item, None], boundary: str) -> AsyncGenerator[Bytes, None]:
    delimiter = f"--{boundary}"
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Location | str):
                kind = item if isinstance(item, str) else f"{DICOM}; transfer-syntax={item.transfer_syntax_uid}"
                yield f"{delimiter}\r\nContent-Type: {kind}\r\n\r\n".encode()
                delimiter = f"\r\n--{boundary}"
            else:
                yield item
    yield f"\r\n--{boundary}--\r\n".encode()


async def one_part(source: AsyncGenerator[Bytes, None], kind: str) -> AsyncGenerator[Item, None]:
    """Make a part of media type `kind` out of `source`."""
    yield kind
    async with aclosing(source):
        async for chunk in source:
            yield chunk


async def send_file(
    request: Request, objects: Objects, location: Location, *, way: str, filename: str | None = None
) -> Response:
    """Send one Part 10 file, or the byte range of it that was asked for."""
    part = byte_range(request, location.length)
    headers = {**part.headers, "Content-Type": f"{DICOM}; transfer-syntax={location.transfer_syntax_uid}"}
    if filename is not None:
        headers["Content-Type"] = DICOM
        headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    source = read_range(objects, location.key, location.offset + part.offset, part.length)
    return await streamed(request, _counted(source, way), headers, part.status)


async def _counted(source: AsyncGenerator[Bytes, None], way: str) -> AsyncGenerator[Bytes, None]:
    async with aclosing(source):
        async for chunk in source:
            metrics.RETRIEVED_BYTES.labels(way).inc(len(chunk))
            yield chunk
