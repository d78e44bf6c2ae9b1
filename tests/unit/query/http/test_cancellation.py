"""Work for a client that went away."""

import asyncio

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon_query.http.cancellation import CancelAbandonedMiddleware


class Client:
    """Sends a request without a body, and disconnects when requested."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._sent = False

    async def receive(self) -> Message:
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        raise AssertionError(message)


def work(ended: list[str], started: asyncio.Event, go: asyncio.Event, *, reads_body: bool) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if reads_body:
            assert (await receive())["type"] == "http.request"
        started.set()
        try:
            await go.wait()
            ended.append("finished")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    return app


@pytest.mark.parametrize(
    ("method", "path", "end"),
    [
        ("GET", "/dicom-web/studies", "cancelled"),
        ("GET", "/instances/x/preview", "cancelled"),
        ("POST", "/dicom-web/studies", "cancelled"),
        ("POST", "/tools/find", "cancelled"),
        ("POST", "/modalities/x/store", "finished"),
        ("DELETE", "/modalities/x", "finished"),
    ],
)
@pytest.mark.parametrize("reads_body", [False, True])
async def test_reading_searching_and_uploading_end_with_the_client(
    method: str, path: str, end: str, reads_body: bool
) -> None:
    client, ended, started, go = Client(), list[str](), asyncio.Event(), asyncio.Event()
    middleware = CancelAbandonedMiddleware(work(ended, started, go, reads_body=reads_body or method == "POST"))
    scope = {"type": "http", "method": method, "path": path}
    serving = asyncio.create_task(middleware(scope, client.receive, client.send))
    await started.wait()
    await asyncio.sleep(0)
    client.gone.set()
    if end == "finished":
        await asyncio.sleep(0.2)  # time enough to be cancelled
        go.set()
    await serving
    assert ended == [end]


async def test_a_response_is_sent_and_an_error_raised_as_without_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError(scope["path"])

    client = Client()
    with pytest.raises(KeyError, match="/wado"):
        await CancelAbandonedMiddleware(app)(
            {"type": "http", "method": "GET", "path": "/wado"}, client.receive, client.send
        )


async def test_a_response_that_has_begun_ends_with_the_client_whatever_the_method() -> None:
    ended, begun, client = list[str](), asyncio.Event(), Client()

    async def send(message: Message) -> None:
        begun.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    serving = asyncio.create_task(
        CancelAbandonedMiddleware(app)(
            {"type": "http", "method": "POST", "path": "/tools/create-archive"}, client.receive, send
        )
    )
    await begun.wait()
    client.gone.set()
    await serving
    assert ended == ["closed"]


async def test_the_body_and_the_end_reach_an_application_that_asks_late() -> None:
    client, got = Client(), list[str]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)
        got.append((await receive())["type"])
        got.append("waits")
        await receive()

    serving = asyncio.create_task(
        CancelAbandonedMiddleware(app)({"type": "http", "method": "GET", "path": "/x"}, client.receive, client.send)
    )
    await asyncio.sleep(0.3)
    client.gone.set()
    await serving
    assert got == ["http.request", "waits"]


async def test_what_follows_the_last_byte_of_a_response_is_not_cancelled() -> None:
    client, ended = Client(), list[str]()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            client.gone.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        await asyncio.sleep(0.1)
        ended.append("finished")

    await CancelAbandonedMiddleware(app)({"type": "http", "method": "GET", "path": "/x"}, client.receive, send)
    assert ended == ["finished"]


async def test_a_request_that_is_cancelled_from_outside_ends_as_cancelled() -> None:
    client, ended, started = Client(), list[str](), asyncio.Event()
    app = CancelAbandonedMiddleware(work(ended, started, asyncio.Event(), reads_body=False))
    serving = asyncio.create_task(app({"type": "http", "method": "GET", "path": "/x"}, client.receive, client.send))
    await started.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert ended == ["cancelled"]
