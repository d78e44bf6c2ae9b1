"""The transport below a secure association, with a protocol that does what a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvloop

from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.tls import client_context, server_context
from osteon.dimse.tls_transport import TlsTransport
from support.services.certificates import CertificateAuthority, needs_openssl

pytestmark = needs_openssl


class Talker(asyncio.BufferedProtocol):
    """Keeps what comes; stops reading after each piece when told to."""

    def __init__(self, *, stops: bool = False) -> None:
        self.buffer = memoryview(bytearray(10_000))
        self.data = bytearray()
        self.stops = stops
        self.pieces = 0
        self.longest = 0
        self.changed = asyncio.Event()
        self.congested = False
        self.lost: list[Exception | None] = []
        self.protocol = self

    def connection_made(self, transport: Any) -> None:
        self.transport: TlsTransport = transport

    def secured(self, by: str) -> None:
        self.changed.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]
        self.pieces += 1
        self.longest = max(self.longest, nbytes)
        self.changed.set()
        if self.stops:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)
        self.changed.set()

    async def until(self, done: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not done():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture(params=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[None, None, None]], None]]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner.run


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ca = CertificateAuthority(tmp_path_factory.mktemp("tls"))
    files = ca.sign().files(ca)
    return server_context(files), client_context(files)


@asynccontextmanager
async def talk(
    talker: Talker, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect a client to a talker."""
    loop, (server, client) = asyncio.get_running_loop(), contexts
    made = partial(TlsTransport, loop, talker, server, ReadTurns(loop, 256 << 10))  # type: ignore[arg-type]
    listener = await loop.create_server(made, "127.0.0.1", 0)
    try:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        await talker.until(talker.changed.is_set)
        yield reader, writer
        writer.transport.abort()
        await talker.until(lambda: talker.lost)
    finally:
        listener.close()


def test_much_that_is_sent_at_once_arrives_whole(contexts: Any, on_loop: Callable[..., None]) -> None:
    parts = [bytes([n]) * size for n, size in enumerate((0, 1, 16_384, 16_385, 3_000_000, 5))]

    async def check() -> None:
        talker = Talker()
        async with talk(talker, contexts) as (reader, _):
            talker.transport.writelines(parts)
            assert await reader.readexactly(sum(map(len, parts))) == b"".join(parts)

    on_loop(check())


def test_records_of_one_byte_are_decrypted_in_slices(contexts: Any, on_loop: Callable[..., None]) -> None:
    data = bytes(range(256)) * 12

    async def check() -> None:
        talker = Talker()
        async with talk(talker, contexts) as (_, writer):
            for at in range(len(data)):
                writer.write(data[at : at + 1])
            await talker.until(lambda: len(talker.data) == len(data))
        assert talker.data == data
        assert talker.longest <= 128

    on_loop(check())


def test_nothing_comes_while_reading_is_paused_and_all_of_it_afterwards(
    contexts: Any, on_loop: Callable[..., None]
) -> None:
    data = bytes(range(256)) * 4_000

    async def check() -> None:
        talker = Talker(stops=True)
        async with talk(talker, contexts) as (_, writer):
            writer.write(data)
            await talker.until(lambda: talker.data)
            for _ in range(20):
                await asyncio.sleep(0)
            assert talker.pieces == 1
            while len(talker.data) < len(data):
                before = talker.pieces
                talker.transport.resume_reading()
                await talker.until(lambda before=before: talker.pieces > before)
                assert talker.pieces == before + 1
            assert talker.data == data
            talker.transport.resume_reading()  # who does not read does not hear of the end either

    on_loop(check())


def test_what_came_before_the_end_comes_before_the_end_after_a_pause(
    contexts: Any, on_loop: Callable[..., None]
) -> None:
    data = bytes(40_000)

    async def check() -> None:
        talker = Talker(stops=True)
        async with talk(talker, contexts) as (_, writer):
            writer.write(data)
            await writer.drain()
            writer.close()
            await talker.until(lambda: talker.data)
            talker.stops = False
            talker.transport.resume_reading()
            await talker.until(lambda: talker.lost)
            assert talker.data == data

    on_loop(check())


def test_a_peer_that_does_not_read_is_felt_and_cut_off_by_abort(contexts: Any, on_loop: Callable[..., None]) -> None:
    async def check() -> None:
        talker = Talker()
        async with talk(talker, contexts) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            talker.transport.set_write_buffer_limits(high=100_000)
            while not talker.congested:
                talker.transport.write(bytes(100_000))
                await asyncio.sleep(0)
            assert talker.transport.get_write_buffer_size() >= 100_000
            talker.transport.abort()
            await talker.until(lambda: talker.lost)

    on_loop(check())


def test_nothing_is_sent_before_the_handshake_nor_after_the_end(contexts: Any, on_loop: Callable[..., None]) -> None:
    async def check() -> None:
        talker, loop = Talker(), asyncio.get_running_loop()
        made = partial(TlsTransport, loop, talker, contexts[0], ReadTurns(loop, 1000))  # type: ignore[arg-type]
        listener = await loop.create_server(made, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.sockets[0].getsockname()[1])
        while not hasattr(talker, "transport"):
            await asyncio.sleep(0)
        talker.transport.write(b"plain text")
        talker.transport.abort()
        assert await reader.read() == b""
        await talker.until(lambda: talker.lost)
        talker.transport.write(b"too late")
        talker.transport.abort()
        writer.close()
        listener.close()

    on_loop(check())
