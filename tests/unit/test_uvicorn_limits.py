"""The bound on what comes before, between and behind bodies, over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from osteon import runtime, uvicorn_limits
from osteon.uvicorn_limits import HEAD_LIMIT

pytestmark = pytest.mark.slow

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"
LONG = b"x" * (20 << 20)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def count(request: Request) -> Response:
        return PlainTextResponse(str(sum([len(chunk) async for chunk in request.stream()])))

    app = Starlette(routes=[Route("/", count, methods=["GET", "POST"])])
    async with runtime.http_server(app, "127.0.0.1", 0) as bound:
        yield bound


async def exchange(port: int, data: bytes) -> tuple[bytes, bool]:
    """Send `data`; returns the answer, and whether the server took all of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken = True
    try:
        for start in range(0, len(data), 1 << 16):
            writer.write(data[start : start + (1 << 16)])
            await writer.drain()
        answer = await reader.read(1 << 16)
    except ConnectionError:
        answer, taken = b"", False
    finally:
        writer.close()
    return answer, taken


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(HEAD + b"X: " + LONG, id="value"),
        pytest.param(HEAD + LONG, id="name"),
        pytest.param(HEAD + b"X: y\r\n" * (4 << 20), id="many"),
        pytest.param(b"GET /" + LONG, id="url"),
        pytest.param(b"\r\n" * (10 << 20), id="blank lines"),
        pytest.param(CHUNKED + b"0\r\nX: " + LONG, id="trailer"),
        pytest.param(CHUNKED + b"1;" + LONG, id="chunk extension"),
        pytest.param(HEAD + b"\r\n" + HEAD + b"X: " + LONG, id="second request"),
    ],
)
async def test_a_head_without_end_is_cut_off(port: int, data: bytes) -> None:
    answer, taken = await exchange(port, data)
    assert not taken or answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")) or b"HTTP/1.1 431" in answer


async def test_a_head_that_is_too_long_is_told_so(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"X: " + b"x" * HEAD_LIMIT)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert str(HEAD_LIMIT).encode() in answer
    writer.close()


@pytest.mark.parametrize("size", [0, 1, 5 << 20])
async def test_bodies_and_usual_heads_pass(port: int, size: int) -> None:
    length = b"Content-Length: %d\r\n\r\n" % size
    one = HEAD + b"X: " + b"x" * 30_000 + b"\r\n" + length + bytes(size)
    for data in (one, one.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")):
        answer, taken = await exchange(port, data)
        assert taken
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(str(size).encode())


async def test_many_requests_on_one_connection_are_counted_one_by_one(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(5):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 30_000 + b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b"\r\n\r\n0")
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", HEAD + b"X: y"])
async def test_a_head_that_does_not_come_in_time_closes_the_connection(
    port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_limits, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 4)  # uvicorn by itself waits forever, or 5 s between requests
    assert (b"408" in answer) == bool(sent)
    writer.close()


async def test_the_head_of_a_second_request_has_its_time_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_limits, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n0")
    writer.write(HEAD)
    assert b"408" in await asyncio.wait_for(reader.read(), 4)
    writer.close()


async def test_a_body_may_take_longer_than_a_head(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_limits, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"Content-Length: 4\r\n\r\n")
    for _ in range(4):
        await asyncio.sleep(0.1)
        writer.write(b"x")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_body_in_chunks_of_a_byte_arrives_whole(port: int) -> None:
    head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer, taken = await exchange(port, head + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert taken
    assert answer.endswith(b"50000")


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_limits, "WRITE_SECONDS", 0.2)
    size = 64 << 20

    async def large(request: Request) -> Response:
        return Response(bytes(size))

    async with runtime.http_server(Starlette(routes=[Route("/", large)]), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1)
        received = 0
        with suppress(ConnectionError):
            while chunk := await asyncio.wait_for(reader.read(1 << 20), 20):
                received += len(chunk)
        assert received < size
        writer.close()
