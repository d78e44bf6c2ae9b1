"""Work for a client that has gone is cancelled."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from osteon_query.http.disconnect import CLIENT_CLOSED_REQUEST, respond_unless_closed


def request(receive: Callable[[], Awaitable[Message]]) -> Request:
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b"", "server": ("a", 80),
             "scheme": "http"}  # fmt: skip
    return Request(scope, receive)


async def test_work_ends_when_the_client_closes_its_connection() -> None:
    messages = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    ends: list[str] = []

    async def receive() -> Message:
        await asyncio.sleep(0)
        return messages.pop(0)

    async def work() -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")
        raise AssertionError("unreachable")

    response = await respond_unless_closed(request(receive), work())
    assert (response.status_code, ends) == (CLIENT_CLOSED_REQUEST, ["cancelled"])


async def test_a_response_and_an_error_pass_and_the_connection_is_watched_no_longer() -> None:
    watching: list[str] = []

    async def receive() -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            watching.append("over")
        raise AssertionError("unreachable")

    async def work(status: int) -> Response:
        await asyncio.sleep(0.01)
        return Response(status_code=status)

    assert (await respond_unless_closed(request(receive), work(204))).status_code == 204
    assert watching == ["over"]

    async def failing() -> Response:
        await asyncio.sleep(0.01)
        raise KeyError("x")

    try:
        await respond_unless_closed(request(receive), failing())
    except KeyError:
        watching.append("failed")
    assert watching == ["over", "over", "failed"]
