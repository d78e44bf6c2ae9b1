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


def work(ended: list[str], started: asyncio.Event, *, reads_body: bool) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if reads_body:
            assert (await receive())["type"] == "http.request"
        started.set()
        try:
            await asyncio.sleep(0.2)
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
    client, ended, started = Client(), list[str](), asyncio.Event()
    middleware = CancelAbandonedMiddleware(work(ended, started, reads_body=reads_body or method == "POST"))
    scope = {"type": "http", "method": method, "path": path}
    serving = asyncio.create_task(middleware(scope, client.receive, client.send))
    await started.wait()
    await asyncio.sleep(0)
    client.gone.set()
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
