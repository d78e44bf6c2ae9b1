"""Who called, told by a balancer (PROXY protocol 1 and 2)."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from osteon.dimse.proxy_protocol import BadProxyHeader, read_header
from osteon.dimse.tls import ClientCertificates, client_context, server_context
from support.dimse.raw_peer import ObserverLog, RawPeer, RecordingHandler, pdu, running
from support.services.certificates import CertificateAuthority, needs_openssl

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
MODALITY, BALANCER = "192.0.2.7", "198.51.100.1"


def v2(command: int, family: int, addresses: bytes) -> bytes:
    return SIGNATURE + struct.pack(">BBH", command, family, len(addresses)) + addresses


def four(source: str = MODALITY, port: int = 51234, extra: bytes = b"") -> bytes:
    pair = socket.inet_aton(source) + socket.inet_aton(BALANCER)
    return v2(0x21, 0x11, pair + struct.pack(">HH", port, 4242) + extra)


SIX = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
GOOD = {
    "v1": (f"PROXY TCP4 {MODALITY} {BALANCER} 51234 4242\r\n".encode(), (MODALITY, 51234)),
    "v1-six": (b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 4242\r\n", ("2001:db8::7", 51234)),
    "v1-unknown": (b"PROXY UNKNOWN\r\n", None),
    "v2": (four(), (MODALITY, 51234)),
    "v2-more": (four(extra=b"\x04\x00\x03abc"), (MODALITY, 51234)),
    "v2-six": (v2(0x21, 0x21, SIX + struct.pack(">HH", 51234, 4242)), ("2001:db8::7", 51234)),
    "v2-local": (v2(0x20, 0x00, b""), None),
    "v2-unix": (v2(0x21, 0x31, bytes(216)), None),
}
BAD = {
    "association": pdu(1, bytes(68)),
    "v1-words": b"PROXY TCP4 192.0.2.7\r\n",
    "v1-address": b"PROXY TCP4 modality 198.51.100.1 1 2\r\n",
    "v1-port": b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 4242\r\n",
    "v1-endless": b"PROXY " + b"x" * 200,
    "v2-short": v2(0x21, 0x11, bytes(8)),
    "v2-long": SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 0xFFFF),
    "v2-version": v2(0x31, 0x11, bytes(12)),
}


@asynccontextmanager
async def behind_balancer(
    tls: ssl.SSLContext | None = None, **config: object
) -> AsyncIterator[tuple[RawPeer, RecordingHandler, ObserverLog]]:
    async with running(**config) as acceptor:
        port = await acceptor.acceptor.start("127.0.0.1", 0, tls and (lambda: tls), proxied=True)
        peer = RawPeer(*await asyncio.open_connection("127.0.0.1", port))
        yield peer, acceptor.handler, acceptor.log
        await peer.close()


@pytest.mark.parametrize(("header", "source"), GOOD.values(), ids=GOOD)
def test_a_header_tells_who_called_and_where_it_ends(header: bytes, source: tuple[str, int] | None) -> None:
    assert read_header(header + b"\x01\x00") == (source, len(header))


@pytest.mark.parametrize("header", [header for header, _ in GOOD.values()], ids=GOOD)
def test_a_part_of_a_header_is_waited_on(header: bytes) -> None:
    assert [read_header(header[:length]) for length in range(1, len(header))] == [None] * (len(header) - 1)


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_what_is_no_header_is_refused(header: bytes) -> None:
    with pytest.raises(BadProxyHeader, match="PROXY protocol"):
        read_header(header)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_an_association_comes_from_who_called_the_balancer(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def call() -> None:
        async with behind_balancer() as (peer, handler, _):
            await peer.send(four())
            await peer.associate()
            assert handler.info is not None
            assert (handler.info.remote_host, handler.info.remote_port) == (MODALITY, 51234)
            await peer.release()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(call())


@needs_openssl
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_tls_begins_behind_the_header(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    authority = CertificateAuthority(tmp_path)
    files = authority.sign().files(authority)

    async def call() -> None:
        async with behind_balancer(server_context(files, ClientCertificates.NONE)) as (peer, handler, _):
            peer.writer.write(four())
            await peer.writer.start_tls(client_context(files), server_hostname="127.0.0.1")
            await peer.associate()
            assert handler.info is not None
            assert handler.info.remote_host == MODALITY
            await peer.release()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(call())


async def test_a_header_may_come_in_pieces_and_together_with_the_request() -> None:
    async with behind_balancer() as (peer, handler, _):
        header = four()
        await peer.send(header[:14])
        await asyncio.sleep(0.05)
        peer.writer.write(header[14:])
        await peer.associate()
        assert handler.info is not None
        assert handler.info.remote_host == MODALITY
        await peer.release()


async def test_what_the_balancer_does_on_its_own_account_comes_from_its_address() -> None:
    async with behind_balancer() as (peer, handler, _):
        await peer.send(v2(0x20, 0x00, b""))
        await peer.associate()
        assert handler.info is not None
        assert handler.info.remote_host == "127.0.0.1"


async def test_who_does_not_come_through_the_balancer_is_cut_off() -> None:
    async with behind_balancer() as (peer, _, log):
        await peer.send(pdu(1, bytes(68)))
        assert await peer.at_end()
        assert not log.accepts


async def test_who_says_nothing_is_cut_off_in_time() -> None:
    async with behind_balancer(artim_timeout=0.1) as (peer, _, log):
        assert await peer.at_end()
        assert not log.accepts
