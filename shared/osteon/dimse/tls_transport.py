"""TLS of one accepted connection (PS3.15 B.10): a protocol to the loop's transport, a transport to the association.

The loops' own `start_tls` drops what has come before it, on uvloop, and sends no alert to a peer that it refuses. Here
a connection counts and has ARTIM from its first moment, as one without TLS has, and alerts go out (RFC 8446 6).
"""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

from osteon.dimse.association import AcceptedAssociation
from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.tls import describe_failure, describe_peer

_SLICE_RECORDS = 128
"""Records that are decrypted in one turn; a full buffer has 16."""
_LITTLE = 4 << 10
"""Bytes that may wait for the peer when a connection is closed with a last alert; with more it is cut off."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """Shakes hands, decrypts what comes for its association and encrypts what that sends.

    `turns` are those of all secure connections of a listener: what waits to be decrypted waits for them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        association: AcceptedAssociation,
        context: ssl.SSLContext,
        turns: ReadTurns,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._association = association
        self._protocol = association.protocol
        self._turns = turns
        self._buffer = turns.buffer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._plain: asyncio.Transport
        self._secure = False
        self._paused = False
        self._awaits_turn = False
        self._error: ssl.SSLError | None = None

    # The protocol, which the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the association, of which the handshake is a part."""
        self._plain = cast(asyncio.Transport, transport)
        self._protocol.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the end on to the association, with TLS as the reason if it is."""
        self._protocol.connection_lost(self._error or exc)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the loop passes it
        """Give the loop the shared buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the loop has read."""
        self._incoming.write(self._buffer[:nbytes])
        self._go_on()

    def pause_writing(self) -> None:
        """The loop has much to send."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The loop has little to send."""
        self._protocol.resume_writing()

    def _go_on(self) -> None:
        try:
            if not self._secure:
                self._shake_hands()
            if self._secure and self._may_read and self._read() and self._may_read:
                self._plain.pause_reading()
                self._awaits_turn = True
                self._turns.wait(self._take_turn)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self._fail(error)

    @property
    def _may_read(self) -> bool:
        return not (self._paused or self._awaits_turn or self._plain.is_closing())

    def _take_turn(self) -> None:
        self._awaits_turn = False
        self._resume()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        finally:
            self._flush()
        self._secure = True
        self._association.secured(describe_peer(self._tls))

    def _read(self) -> bool:
        """Decrypt what there is, at most a buffer or a slice of records; return whether there may be more.

        Raises `ssl.SSLError`.
        """
        buffer = self._protocol.get_buffer(-1)
        at, records, more, goodbye = 0, 0, True, False
        while more and at < len(buffer) and records < _SLICE_RECORDS:
            records += 1
            try:
                size = cast(int, self._tls.read(len(buffer) - at, cast(bytearray, buffer[at:])))
            except ssl.SSLWantReadError:
                more = False
            else:
                at += size
                goodbye = not size
                more = not goodbye
        if at:
            self._protocol.buffer_updated(at)
        if goodbye:
            self._plain.close()
        return more

    def _fail(self, error: ssl.SSLError) -> None:
        self._error = error
        self._flush()
        if self._secure:
            self.abort()
        else:
            self._association.insecure(describe_failure(error))

    def _flush(self) -> None:
        if (data := self._outgoing.read()) and not self._plain.is_closing():
            self._plain.write(data)

    # The transport, which the association calls.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the loop knows of the connection."""
        return self._plain.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._plain.is_closing()

    def pause_reading(self) -> None:
        """Give the association nothing more, not even what has been read already."""
        self._paused = True
        if not self._plain.is_closing():
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Continue after `pause_reading`: first with what has been read already, before the end can overtake it."""
        self._paused = False
        self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._may_read:
            self._go_on()
        if self._may_read:
            self._plain.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set what may wait to be written, encrypted."""
        self._plain.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return how many encrypted bytes wait."""
        return self._plain.get_write_buffer_size()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt and send; nothing while the connection is not secure."""
        if not self._secure or self._plain.is_closing():
            return
        try:
            for data in list_of_data:
                rest = memoryview(data)
                while rest:
                    rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            self._fail(error)
        else:
            self._flush()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send one piece, as `writelines` does."""
        self.writelines((data,))

    def abort(self) -> None:
        """Close, with a last alert unless the peer leaves unread what it was sent."""
        if self._plain.is_closing() or self._plain.get_write_buffer_size() > _LITTLE:
            self._plain.abort()
            return
        with suppress(ssl.SSLError):  # no answer is awaited, and a failed connection has nothing to send
            self._tls.unwrap()
        self._flush()
        self._plain.close()
