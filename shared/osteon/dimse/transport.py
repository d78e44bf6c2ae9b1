"""The bytes of one transport connection: reading with back-pressure, writing with a limit (PS3.8 9.1)."""

import asyncio
import socket
from typing import Any, Protocol, cast

from osteon.dimse.read_turns import ReadTurns

_WRITE_HIGH_WATER = 1 << 20
"""Bytes that may wait for the peer before writers have to wait."""
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""Seconds and counts: a peer that has vanished is noticed after two minutes; not every system has all of them."""


class ByteReceiver(Protocol):
    """What takes the bytes of a connection."""

    def on_connected(self) -> None:
        """The connection is open."""

    def feed(self, data: memoryview) -> int:
        """Consume bytes; return how many: fewer than all when on hold, or when the rest has to wait for its turn."""

    def on_writable(self) -> None:
        """The peer has read enough to be written to again."""

    def rearm(self) -> None:
        """Bytes have come or gone: restart timers."""

    def on_disconnected(self, error: Exception | None) -> None:
        """The connection is lost or closed."""


class TransportConnection(asyncio.BufferedProtocol):
    """Gives what comes to its receiver, in order and without a copy, and can be put on hold.

    What the receiver does not take is copied and kept, and nothing more is read, until `resume` or until it is the
    connection's turn. `turns` are those of all connections of a listener.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: ReadTurns, receiver: ByteReceiver) -> None:
        self._loop = loop
        self._receiver = receiver
        self._turns = turns
        self._buffer = turns.buffer
        self._awaits_turn = False
        self._held: memoryview | None = None
        self._on_hold = False
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self.received = 0
        """Bytes that have come."""

    # Reading.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the limit of what may wait to be written."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            _keep_alive(connection)
        self._receiver.on_connected()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop what is held, wake writers, and report the end to the receiver."""
        self._transport = None
        self._held = None
        self.release_writers()
        self._receiver.on_disconnected(exc)

    def extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the loop knows of the connection: `peername`, `socket`."""
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the loop passes it
        """Give the loop the shared buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Consume what the loop has read."""
        data = self._buffer[:nbytes]
        self.received += nbytes
        if self._held is not None:
            self._held = memoryview(bytes(self._held) + bytes(data))
            return
        used = 0 if self._turns.crowded else self._receiver.feed(data)
        if used < nbytes:
            self._keep(memoryview(bytes(data[used:])))
        self._receiver.rearm()

    def _keep(self, data: memoryview) -> None:
        self._held = data
        if self._on_hold or self._transport is None or self._transport.is_closing():
            return
        self._transport.pause_reading()
        if not self._awaits_turn:
            self._awaits_turn = True
            self._turns.wait(self._take_turn)

    def _take_turn(self) -> None:
        self._awaits_turn = False
        if not self._on_hold:
            self._proceed()

    def hold(self) -> None:
        """Read nothing more, not even what has been read already, until `resume`."""
        self._on_hold = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Continue reading after `hold`."""
        self._on_hold = False
        if not self._awaits_turn:
            self._proceed()

    def _proceed(self) -> None:
        data, self._held = self._held, None
        if data is not None:
            used = self._receiver.feed(data)
            if used < len(data):
                self._keep(data[used:])
        if not (self._on_hold or self._awaits_turn or self._transport is None):
            self._transport.resume_reading()
        self._receiver.rearm()

    def check_reset(self) -> None:
        """Close when the peer has reset a connection that is on hold: the loop notices that only when it reads."""
        if self._on_hold and self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            if connection is not None and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.abort()

    def drop_held(self) -> None:
        """Discard what was on hold and continue reading."""
        self._held = None
        self._on_hold = False
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the connection without waiting for what is still to be written."""
        if self._transport is not None:
            self._transport.abort()

    # Writing.

    def send(self, *pdus: bytes | memoryview) -> None:
        """Write whole PDUs, or parts of one in order; nothing once the connection is lost."""
        if self._transport is not None and not self.closing:
            self._transport.writelines(pdus)

    @property
    def closing(self) -> bool:
        """The connection is lost or about to be: the loop knows of a failed write before it reports it."""
        return self._transport is None or self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that the system has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def congested(self) -> bool:
        """The peer does not read what was sent."""
        return self._writable is not None

    async def writable(self) -> None:
        """Wait while the connection is congested."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def pause_writing(self) -> None:
        """The loop has much to send."""
        self._writable = self._loop.create_future()
        self._receiver.rearm()

    def resume_writing(self) -> None:
        """The loop has little to send."""
        self.release_writers()
        self._receiver.on_writable()
        self._receiver.rearm()

    def release_writers(self) -> None:
        """Wake every writer that waits in `writable`."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
