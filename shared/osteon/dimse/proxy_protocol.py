"""Reads a caller's address from a balancer in front: PROXY protocol 1 and 2 (haproxy.org, proxy-protocol.txt).

Only for a port that the balancer alone can reach: any client that reaches it can claim any address.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, cast

from osteon.errors import Invalid
from osteon.logging import get_logger

_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED: Final = 16
_MOST: Final = 4 << 10
"""Bytes of a header; a longer one holds nothing that is needed."""
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_TCP: Final = {0x11: 4, 0x21: 16}
"""Family and transport of version 2 → length of an address."""
log = get_logger(__name__)

Address = tuple[str, int]


class BadProxyHeader(Invalid):
    """What came first is not a header of the PROXY protocol."""


class ProxyHeader(NamedTuple):
    """`source` is None when the balancer connects for itself (a health check); the header ends at `length`."""

    source: Address | None
    length: int


def read_header(data: bytes) -> ProxyHeader | None:
    """Return the header that `data` begins with, None while it is incomplete. Raises `BadProxyHeader`."""
    if data.startswith(_V2):
        return _read_v2(data)
    if data.startswith(_V1):
        return _read_v1(data)
    if _V1.startswith(data) or _V2.startswith(data):
        return None
    raise BadProxyHeader("no header of the PROXY protocol (OSTEON_PROXY_PROTOCOL is on; is there a balancer?)")


def _read_v1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_V1_LONGEST].partition(b"\r\n")
    if not end:
        if len(data) >= _V1_LONGEST:
            raise BadProxyHeader(f"PROXY protocol 1: no end of line within {_V1_LONGEST} bytes")
        return None
    length = len(line) + len(end)
    match line.decode("ascii", "replace").split(" "):
        case ["PROXY", "UNKNOWN", *_]:
            return ProxyHeader(None, length)
        case ["PROXY", "TCP4" | "TCP6", source, _, port, _] if port.isdecimal() and int(port) <= 0xFFFF:
            with suppress(ValueError):
                return ProxyHeader((str(ipaddress.ip_address(source)), int(port)), length)
    raise BadProxyHeader(f"PROXY protocol 1: {line[:60]!r} cannot be read")


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED:
        return None
    command, family = data[12], data[13]
    length = _V2_FIXED + int.from_bytes(data[14:16])
    if command not in {_LOCAL, _PROXY} or length > _MOST:
        raise BadProxyHeader(f"PROXY protocol 2: command {command:#x}, length {length}")
    if len(data) < length:
        return None
    size = _TCP.get(family)
    if command == _LOCAL or size is None:
        return ProxyHeader(None, length)
    if length < _V2_FIXED + 2 * size + 4:
        raise BadProxyHeader(f"PROXY protocol 2: too short for its addresses, {length} bytes")
    port = _V2_FIXED + 2 * size
    source = ipaddress.ip_address(data[_V2_FIXED : _V2_FIXED + size])
    return ProxyHeader((str(source), int.from_bytes(data[port : port + 2])), length)


class ProxyProtocolReader(asyncio.BufferedProtocol):
    """Takes the header from a new connection, then hands the connection over to what `make` returns for the caller.

    Its buffer must hold 4 KiB at least: what came with the header goes there at once. `patience` is the seconds that
    the header has; then, and when it cannot be read, the connection is closed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[Address | None], asyncio.BufferedProtocol],
        patience: float,
    ) -> None:
        self._make = make
        self._buffer = bytearray(_MOST)
        self._used = 0
        self._transport: asyncio.Transport
        self._late = loop.call_later(patience, self._refuse, f"no header of the PROXY protocol within {patience:g} s")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the header has yet to come."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the loop passes it
        """The connection ended before its header was complete."""
        self._late.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the loop passes it
        """Give the loop what is left of the buffer."""
        return memoryview(self._buffer)[self._used :]

    def buffer_updated(self, nbytes: int) -> None:
        """Look for the end of the header."""
        self._used += nbytes
        data = bytes(self._buffer[: self._used])
        try:
            header = read_header(data)
        except BadProxyHeader as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._late.cancel()
            self._hand_over(header.source, data[header.length :])

    def _hand_over(self, source: Address | None, rest: bytes) -> None:
        protocol = self._make(source)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if rest:
            memoryview(protocol.get_buffer(len(rest)))[: len(rest)] = rest
            protocol.buffer_updated(len(rest))

    def _refuse(self, why: str) -> None:
        self._late.cancel()
        log.warning("connection refused", reason=why, remote=self._transport.get_extra_info("peername"))
        self._transport.abort()
