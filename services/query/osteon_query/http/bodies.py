"""Request bodies: limits, multipart (RFC 2046, RFC 2387) and files, all in constant memory."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import ClientDisconnect, Request

from osteon.objects.port import Bytes
from osteon_query.http.accept import split_header
from osteon_query.http.errors import BadBody, TooLarge, TooSlow, UnsupportedMediaType
from osteon_query.packs.part10 import missing_preamble

PATIENCE: Final = 60.0
"""Seconds for which the next bytes of a body are waited for."""
SLOWEST: Final = 1024
"""Bytes a second at which a body comes for as long as it likes."""
_BUFFER: Final = 1 << 20
_SMALL: Final = 4 << 20
"""Bytes of a JSON or text body at most."""
_MAX_BOUNDARY: Final = 70
_MAX_HEADERS: Final = 32
_MAX_HEADER: Final = 4096


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part of a multipart body: its headers, names in lower case."""

    headers: Mapping[str, str]


class PartEnds:
    """The part is complete."""


Event = PartBegins | memoryview | PartEnds


def content_type(request: Request) -> tuple[str, dict[str, str]]:
    """Return the body's media type and its parameters; raises `UnsupportedMediaType` for a compressed body."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:80]!r} is not taken: send the body as it is")
    return split_header(request.headers.get("content-type", "")[:1024])


async def limited(request: Request, limit: int, setting: str) -> AsyncGenerator[bytes, None]:
    """Yield the body; raises `TooLarge` as soon as it is known to be longer than `limit` bytes.

    Raises `TooSlow` when the client lets the archive wait for `PATIENCE` seconds, and a second more for each `SLOWEST`
    bytes: what comes by the byte must not take an upload's turn for hours.
    """
    message = f"the body is longer than {limit} bytes ({setting})"
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(message)
    patience = PATIENCE
    chunks = aiter(request.stream())
    try:
        while True:
            started = time.monotonic()
            async with asyncio.timeout(patience):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            limit -= len(chunk)
            if limit < 0:
                raise TooLarge(message)
            patience = min(PATIENCE, patience - (time.monotonic() - started) + len(chunk) / SLOWEST)
            yield chunk
    except TimeoutError:
        raise TooSlow(f"the body comes more slowly than {SLOWEST} bytes a second") from None
    except ClientDisconnect:
        raise BadBody("the client went away before the body was complete") from None


async def small_body(request: Request) -> bytes:
    """Return a body of at most 4 MiB."""
    async with aclosing(limited(request, _SMALL, "limit of JSON and text bodies")) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def json_body(request: Request) -> object:
    """Return a body that is JSON; raises `BadBody`."""
    return _parsed(await small_body(request))


async def json_object(request: Request) -> dict[str, object]:
    """Return a body that is a JSON object; raises `BadBody`."""
    return _object(await json_body(request))


async def optional_object(request: Request) -> dict[str, object]:
    """Return a body that is a JSON object, or an empty one when there is no body; raises `BadBody`."""
    body = (await small_body(request)).strip()
    return _object(_parsed(body)) if body else {}


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error}") from None


def _object(body: object) -> dict[str, object]:
    if not isinstance(body, dict):
        raise BadBody("the body is not a JSON object")
    return body


def boundary_of(parameters: Mapping[str, str]) -> bytes:
    """Return the boundary parameter of a multipart Content-Type; raises `BadBody`."""
    boundary = parameters.get("boundary", "")
    if not boundary or len(boundary) > _MAX_BOUNDARY or not boundary.isascii():
        raise BadBody(f"Content-Type needs a boundary of 1 to {_MAX_BOUNDARY} ASCII characters, got {boundary[:80]!r}")
    return boundary.encode("ascii")


async def multipart_events(chunks: AsyncIterator[bytes], boundary: bytes) -> AsyncGenerator[Event, None]:
    """Parse a multipart body as it comes in; raises `BadBody` when it is none or is cut short."""
    parser = _Parser(boundary)
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event
    if not parser.complete:
        raise BadBody(f"the multipart body ends without its closing boundary --{boundary.decode()}--")


class _Parser:
    """Turns the callbacks of the push parser into events."""

    def __init__(self, boundary: bytes) -> None:
        self.complete = False
        self._events: list[Event] = []
        self._headers: dict[str, str] = {}
        self._name = b""
        self._value = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._field,
                "on_header_value": self._more_value,
                "on_header_end": self._header_end,
                "on_headers_finished": lambda: self._events.append(PartBegins(dict(self._headers))),
                "on_part_data": lambda data, start, end: self._events.append(memoryview(data)[start:end]),
                "on_part_end": lambda: self._events.append(PartEnds()),
                "on_end": self._end,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER,
        )

    def feed(self, chunk: bytes) -> list[Event]:
        """Parse the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadBody(f"the body is not multipart as its Content-Type says: {error}") from None
        events, self._events = self._events, []
        return events

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name = self._value = b""

    def _end(self) -> None:
        self.complete = True


class FileWriter:
    """Writes a new file in chunks of at least 1 MiB, in threads; a smaller one takes a single step.

    DICOM files without preamble and prefix get them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self.size = 0

    async def write(self, data: Bytes) -> None:
        """Append `data`."""
        self._buffer += data
        self.size += len(data)
        if len(self._buffer) >= _BUFFER:
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        full, self._buffer = self._buffer, bytearray()
        if self._file is None:
            self._file = self._path.open("xb", buffering=0)
            full[:0] = missing_preamble(full)
        left = memoryview(full)
        while left:
            left = left[self._file.write(left) :]

    def finish(self) -> None:
        """Write what is left and close the file. Blocks: call it in a thread."""
        try:
            self._flush()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file as it is."""
        if self._file is not None:
            self._file.close()


@asynccontextmanager
async def writing(path: Path) -> AsyncGenerator[FileWriter, None]:
    """Write a new file; it is complete when the context ends without an error."""
    writer = FileWriter(path)
    try:
        yield writer
    except BaseException:
        await asyncio.to_thread(writer.close)
        raise
    await asyncio.to_thread(writer.finish)


async def write_file(chunks: AsyncIterator[bytes], path: Path) -> None:
    """Write a body to a new file."""
    async with writing(path) as file:
        async for chunk in chunks:
            await file.write(chunk)


async def write_parts(
    chunks: AsyncIterator[bytes], boundary: bytes, new_path: Callable[[], Path]
) -> AsyncGenerator[tuple[PartBegins, Path, int], None]:
    """Write each part of a multipart body to a new file; yields its headers, the file and its length in bytes."""
    events = multipart_events(chunks, boundary)
    async for part in events:
        assert isinstance(part, PartBegins)
        path = new_path()
        async with writing(path) as file:
            async for piece in events:
                if isinstance(piece, PartEnds):
                    break
                assert isinstance(piece, memoryview)
                await file.write(piece)
        yield part, path, file.size
