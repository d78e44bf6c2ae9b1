"""An HTTP/1.1 protocol that bounds what a client may send besides the body: request lines, headers, trailers.

uvicorn's httptools protocol gathers them in memory without a limit, and before the application is asked.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT: Final = 64 << 10
"""Bytes without any of a body after which a connection is closed; what one read of the socket brings is added."""
_ANSWER: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_MESSAGE: Final = b"The request line and the headers are longer than %d bytes." % HEAD_LIMIT


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, which answers 431 and closes the connection when a head does not end."""

    _head = 0
    """Bytes that came since the last byte of a body or the last message's end."""

    def data_received(self, data: bytes) -> None:
        """Count, and parse what is within the limit."""
        if self.transport.is_closing():
            return
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
