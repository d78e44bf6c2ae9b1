"""An HTTP/1.1 protocol that bounds what a client may send besides the body, and how slowly it may read.

uvicorn's httptools protocol gathers request lines, headers and trailers in memory without a limit, for as long as it
takes, and before the application is called.
"""

import asyncio
from typing import Any, Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT: Final = 64 << 10
"""Bytes without any of a body after which a connection is closed; what one read of the socket brings is added."""
HEAD_SECONDS: Final = 30.0
"""Seconds that a client may take for the head of a request, from the connection or its first byte on."""
WRITE_SECONDS: Final = 60.0
"""Seconds in which a client has to take `WRITE_BYTES` of what waits for it."""
WRITE_BYTES: Final = 16 << 10
SLICE: Final = 16 << 10
"""Bytes that are parsed before it is decided whether other work comes first."""
_MAX_SLICE: Final = 128 << 10
"""The same of a body that comes in one piece."""
SLICE_PIECES: Final = 500
"""Pieces of a body in a slice after which other work comes first."""
_TIMEOUT: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_ANSWER: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_MESSAGE: Final = b"The request line and the headers are longer than %d bytes." % HEAD_LIMIT


class HeaderLimitProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes the connection when a head does not end (431) or is not there in time (408)."""

    _head = 0
    """Bytes that came since the last byte of a body or the last message's end."""
    _deadline: asyncio.TimerHandle | None = None
    _write_check: asyncio.TimerHandle | None = None
    _pieces = 0
    _slice = SLICE

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unparsed = bytearray()
        self._body: list[bytes] = []

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._expect_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        if self._write_check is not None:
            self._write_check.cancel()
        self._unparsed.clear()
        super().connection_lost(exc)

    @override
    def on_headers_complete(self) -> None:
        self._head_is_there()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _head_is_there(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if not self.transport.is_closing():
            if self._head:
                self.transport.write(_TIMEOUT)
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what came, in slices: a body in chunks of a byte each must not hold the event loop."""
        if self._unparsed:
            self._unparsed += data
            self.transport.pause_reading()
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        stop = 0
        while stop < len(data):
            if self.transport.is_closing():
                return
            start, stop = stop, stop + self._slice
            pieces = self._parse_slice(data[start:stop])
            self._slice = min(2 * self._slice, _MAX_SLICE) if pieces <= 1 else SLICE
            if pieces > SLICE_PIECES and stop < len(data):
                self._deliver_body()
                self._unparsed += data[stop:]
                self.loop.call_soon(self._parse_rest)
                return
        self._deliver_body()
        if not self.transport.is_closing() and not self.flow.read_paused:
            self.transport.resume_reading()

    def _parse_rest(self) -> None:
        data = bytes(self._unparsed)
        self._unparsed.clear()
        self._parse(data)

    def _parse_slice(self, data: bytes) -> int:
        """Count, and parse what is within the limit; returns in how many pieces the body came."""
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        self._head += len(data)
        self._pieces = 0
        super().data_received(data)
        # Bytes that the parser took for a body, or that ended a message, have set the count back.
        if self._head > HEAD_LIMIT and not self.transport.is_closing():
            self._refuse()
        return self._pieces

    def on_body(self, body: bytes) -> None:
        """Gather the pieces of a body: uvicorn copies all that waits for each."""
        self._head = 0
        self._pieces += 1
        self._body.append(body)

    def _deliver_body(self) -> None:
        if self._body:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body.clear()
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See `HttpToolsProtocol`."""
        self._head = 0
        self._deliver_body()
        super().on_message_complete()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    @override
    def resume_writing(self) -> None:
        if self._write_check is not None:
            self._write_check.cancel()
            self._write_check = None
        super().resume_writing()

    def _watch_writing(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._write_check = self.loop.call_later(WRITE_SECONDS, self._check_writing, left)

    def _check_writing(self, before: int) -> None:
        """Cut off a client that reads too slowly: what it does not take is held in memory."""
        if before - self.transport.get_write_buffer_size() < WRITE_BYTES:
            self.logger.warning("a client read less than %d bytes in %d s", WRITE_BYTES, WRITE_SECONDS)
            self.transport.abort()
        else:
            self._watch_writing()

    def _refuse(self) -> None:
        self.logger.warning("a request's headers are longer than %d bytes", HEAD_LIMIT)
        cycle = self.cycle
        if not self.pipeline and (cycle is None or cycle.response_complete or not cycle.response_started):
            self.transport.write(_ANSWER % (len(_MESSAGE), _MESSAGE))
        self.transport.close()
