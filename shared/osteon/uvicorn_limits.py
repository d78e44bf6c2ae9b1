"""An HTTP/1.1 protocol that bounds what a client may send besides the body: request lines, headers, trailers.

uvicorn's httptools protocol gathers them in memory without a limit, for as long as it takes, and before the
application is called.
"""

import asyncio
from typing import Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT: Final = 64 << 10
"""Bytes without any of a body after which a connection is closed; what one read of the socket brings is added."""
HEAD_SECONDS: Final = 30.0
"""Seconds that a client may take for the head of a request, from the connection or its first byte on."""
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

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._expect_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
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
        """Count, and parse what is within the limit."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        self._head += len(data)
        super().data_received(data)
        # Bytes that the parser took for a body, or that ended a message, have set the count back.
        if self._head > HEAD_LIMIT and not self.transport.is_closing():
            self._refuse()

    def on_body(self, body: bytes) -> None:
        """See `HttpToolsProtocol`."""
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See `HttpToolsProtocol`."""
        self._head = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        self.logger.warning("a request's headers are longer than %d bytes", HEAD_LIMIT)
        cycle = self.cycle
        if not self.pipeline and (cycle is None or cycle.response_complete or not cycle.response_started):
            self.transport.write(_ANSWER % (len(_MESSAGE), _MESSAGE))
        self.transport.close()
