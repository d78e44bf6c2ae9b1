"""A scripted HTTP server in the place of an S3 server, and a TCP proxy that cuts or changes what passes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext


@dataclass
class S3Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[S3Request], bytes | None]
"""Returns the bytes of a response, or None to close the connection without one."""


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP response; a header `Content_Length` given here replaces the true one."""
    lines = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + body


def s3_error(status: int, code: str) -> bytes:
    """Return the response of an S3 server that refuses."""
    xml = f"<Error><Code>{code}</Code><Message>because</Message><Resource>/b/k</Resource></Error>"
    return response(status, xml.encode(), Content_Type="application/xml")


@dataclass
class FakeS3:
    """Answers by a function; keeps the requests. `block_seconds` is a pause after each 256 KiB of a body."""

    answer: Answer = lambda _: response(200)
    block_seconds: float = 0.0
    requests: list[S3Request] = field(default_factory=list)
    uploads_open: int = 0
    most_uploads_open: int = 0
    endpoint: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                answer = self.answer(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> S3Request | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        method, path, _ = first.split()
        uploading = method == "PUT"
        self.uploads_open += uploading
        self.most_uploads_open = max(self.most_uploads_open, self.uploads_open)
        body = bytearray()
        left = int(headers.get("content-length", 0))
        while len(body) < left:
            body += await reader.readexactly(min(256 << 10, left - len(body)))
            await asyncio.sleep(self.block_seconds)
        self.uploads_open -= uploading
        return S3Request(method, path, headers, bytes(body))


@asynccontextmanager
async def fake_s3(
    answer: Answer | None = None, *, block_seconds: float = 0.0, tls: SSLContext | None = None
) -> AsyncIterator[FakeS3]:
    """Serve a `FakeS3` on a free loopback port."""
    fake = FakeS3(block_seconds=block_seconds)
    if answer:
        fake.answer = answer
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    fake.endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()


Change = Callable[[bytes, int], bytes | None]
"""Gets bytes on their way to the server and how many went before; returns what to send, or None to cut the line."""


@asynccontextmanager
async def proxy(endpoint: str, change: Change) -> AsyncIterator[str]:
    """Forward a loopback port to `endpoint` through `change`; yields the proxy's host and port."""
    host, _, port = endpoint.partition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, through: Change) -> None:
        passed = 0
        try:
            while data := await reader.read(1 << 16):
                sent = through(data, passed)
                if sent is None:
                    break
                passed += len(data)
                writer.write(sent)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        writers.extend((writer, upstream_writer))
        back = asyncio.create_task(pump(upstream_reader, writer, lambda data, _: data))
        await pump(reader, upstream_writer, change)
        writer.close()
        await back

    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.05)  # the handlers see the end of their streams
