"""Multipart bodies as they arrive (RFC 2046 5.1.1): preamble, parts and epilogue, in constant memory.

Beyond the grammar it takes what clients send: line feeds alone, when the first boundary line ends with one, and a
closing boundary at the end of the body without a line break before it.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from osteon.errors import Invalid

_MAX_HEADERS: Final = 32
_MAX_HEADER: Final = 4096
_MAX_PADDING: Final = 256
"""Blanks behind a boundary at most (transport padding)."""
_TAIL: Final = re.compile(rb"(--)|[ \t]{0,%d}(\r?\n)" % _MAX_PADDING)
"""What stands behind the boundary in its line."""
_TAIL_BEGUN: Final = re.compile(rb"-?|[ \t]{0,%d}\r?" % _MAX_PADDING)
_NAME: Final = re.compile(r"[!-9;-~]+")
_LAST: Final = re.compile(rb"--[ \t]*\r?\n?")
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})


_MIN_STEP: Final = 2 << 10
_MAX_STEP: Final = 64 << 10
"""Bytes of a multipart body that are parsed in one step of the event loop."""
_MANY_EVENTS: Final = 30
_STEP_SECONDS: Final = 0.002
"""Steps that take less together come one after the other."""


class BadMultipart(Invalid):
    """A body is not multipart as its boundary promises."""


class UnsupportedPartEncoding(Invalid):
    """A part has a Content-Transfer-Encoding other than binary, 7bit or 8bit."""


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part of a multipart body: its headers, names in lower case, folded lines joined."""

    headers: Mapping[str, str]


class PartEnd:
    """The end of a part: all of its bytes have been yielded."""


MultipartEvent = PartStart | memoryview | PartEnd


class _Reading(Enum):
    PREAMBLE = 1
    HEADERS = 2
    CONTENT = 3
    EPILOGUE = 4


class MultipartParser:
    """Turns chunks of a body into events. `complete`: the closing boundary was there."""

    def __init__(self, boundary: bytes) -> None:
        self._dashes = b"--" + boundary
        # A boundary may begin the body; the line breaks before those of parts are as that behind the first one.
        self._held = self._newline = b"\n"
        self._reading = _Reading.PREAMBLE
        self._headers: list[tuple[str, str]] = []
        self._parts = 0
        self._hold_from = 0
        """Where what was not parsed yet begins in the bytes at hand."""
        self._events: list[MultipartEvent] = []

    @property
    def complete(self) -> bool:
        """Whether the closing boundary has come; what follows is ignored."""
        return self._reading is _Reading.EPILOGUE

    def feed(self, chunk: bytes) -> list[MultipartEvent]:
        """Parse the next bytes; raises `BadMultipart`, and `UnsupportedPartEncoding` for the encoding of a part."""
        data, at = self._held + chunk if self._held else chunk, 0
        while (after := self._step(data, at)) is not None:
            at = after
        self._held = b"" if self.complete else data[self._hold_from :]
        return self._take_events()

    def finish(self) -> list[MultipartEvent]:
        """End the body; raises `BadMultipart` when it is not complete."""
        if self._reading is _Reading.CONTENT:
            at = self._held.rfind(self._dashes)
            if at >= 0 and _LAST.fullmatch(self._held, at + len(self._dashes)):
                self._emit(self._held, 0, at)
                self._end_part(closed=True)
        if not self.complete:
            raise BadMultipart(f"the multipart body ends without its closing boundary {self._dashes.decode()}--")
        return self._take_events()

    def _take_events(self) -> list[MultipartEvent]:
        events, self._events = self._events, []
        return events

    def _step(self, data: bytes, at: int) -> int | None:
        """Parse from `at`; return where to go on, or None and set `_hold_from` when more bytes are needed."""
        if self._reading is _Reading.EPILOGUE:
            return None
        return self._header(data, at) if self._reading is _Reading.HEADERS else self._content(data, at)

    def _content(self, data: bytes, at: int) -> int | None:
        """Take content, or the preamble, up to the next boundary."""
        delimiter, start = self._newline + self._dashes, at
        while (found := data.find(delimiter, start)) >= 0:
            behind = found + len(delimiter)
            if tail := _TAIL.match(data, behind):
                self._emit(data, at, found)
                return self._end_part(tail)
            if _TAIL_BEGUN.fullmatch(data, behind):
                self._hold_from = found
                break
            start = found + 1
        else:
            window = len(delimiter) + len(b"--\r\n")
            places = [data.find(sign, max(at, len(data) - window)) for sign in (self._newline[:1], b"-")]
            self._hold_from = min((place for place in places if place >= 0), default=len(data))
        self._emit(data, at, self._hold_from)
        return None

    def _header(self, data: bytes, at: int) -> int | None:
        """Take a line of a part's headers: one, the rest of one, or the empty line behind them."""
        end = data.find(b"\n", at) + 1
        line = data[at : end or len(data)]
        if boundary := self._boundary(data, at):
            self._start_part()
            return self._end_part(boundary)
        if len(line) > _MAX_HEADER:
            raise BadMultipart(f"part {self._parts}: a header is longer than {_MAX_HEADER} bytes")
        if not end:
            self._hold_from = at
            return None
        if not (text := line.rstrip(b"\r\n")):
            return self._begin_content(data, at, end)
        self._add_header(text.decode("latin-1"))
        return end

    def _begin_content(self, data: bytes, at: int, end: int) -> int | None:
        """Take the empty line at `at`. A boundary right behind it ends the part, which is empty."""
        boundary = self._boundary(data, end)
        rest = data[end : end + len(self._dashes) + _MAX_PADDING + 2]
        begun = rest.startswith(self._dashes) and _TAIL_BEGUN.fullmatch(rest, len(self._dashes))
        if not boundary and (begun or self._dashes.startswith(rest)):
            self._hold_from = at
            return None
        self._start_part()
        if boundary:
            return self._end_part(boundary)
        self._reading = _Reading.CONTENT
        return end

    def _boundary(self, data: bytes, at: int) -> re.Match[bytes] | None:
        """Return the end of the boundary line at `at`, None when there is none."""
        return _TAIL.match(data, at + len(self._dashes)) if data.startswith(self._dashes, at) else None

    def _add_header(self, line: str) -> None:
        if line[0] in " \t" and self._headers:
            name, value = self._headers[-1]
            if len(value) + len(line) > _MAX_HEADER:
                raise BadMultipart(f"part {self._parts}: the header {name[:80]!r} is longer than {_MAX_HEADER} bytes")
            self._headers[-1] = name, f"{value} {line.strip()}".strip()
            return
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name.rstrip()):
            raise BadMultipart(f"part {self._parts}: {line[:80]!r} is not a header")
        if len(self._headers) == _MAX_HEADERS:
            raise BadMultipart(f"part {self._parts} has more than {_MAX_HEADERS} headers")
        self._headers.append((name.rstrip().lower(), value.strip()))

    def _start_part(self) -> None:
        headers = dict(self._headers)
        encoding = headers.get("content-transfer-encoding", "").lower()
        if encoding not in _PLAIN_ENCODINGS:
            raise UnsupportedPartEncoding(
                f"part {self._parts}: Content-Transfer-Encoding {encoding[:80]!r} is not supported: send it as binary"
            )
        self._events.append(PartStart(headers))

    def _end_part(self, tail: re.Match[bytes] | None = None, *, closed: bool = False) -> int:
        """End the part, if there is one, at a boundary; return where the next line begins."""
        if self._reading is not _Reading.PREAMBLE:
            self._events.append(PartEnd())
        elif tail and tail[2]:
            self._newline = tail[2]
        if closed or (tail and tail[1]):
            self._reading = _Reading.EPILOGUE
        else:
            self._reading = _Reading.HEADERS
            self._headers.clear()
            self._parts += 1
        return tail.end() if tail else 0

    def _emit(self, data: bytes, start: int, end: int) -> None:
        if self._reading is _Reading.CONTENT and end > start:
            self._events.append(memoryview(data)[start:end])


async def multipart_events(chunks: AsyncIterator[bytes], boundary: bytes) -> AsyncGenerator[MultipartEvent, None]:
    """Parse a multipart body as it arrives; raises as `MultipartParser` does."""
    parser = MultipartParser(boundary)
    step, begun = _MIN_STEP, time.perf_counter()
    async for chunk in chunks:
        start = 0
        while start < len(chunk):
            events = parser.feed(chunk[start : start + step])
            start += step
            # Parsing byte by byte and many small parts must not hold the event loop.
            step = _MIN_STEP if len(events) > _MANY_EVENTS else min(2 * step, _MAX_STEP)
            for event in events:
                yield event
            if time.perf_counter() - begun > _STEP_SECONDS:
                await asyncio.sleep(0)
                begun = time.perf_counter()
    for event in parser.finish():
        yield event
