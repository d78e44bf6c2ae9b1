"""Work for a client that went away is cancelled, once nothing of the request is left to read.

Requests that change something other than by an upload run until their response begins.
"""

import asyncio
from http import HTTPMethod
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon.logging import get_logger

log = get_logger(__name__)

_WATCH_AFTER_SECONDS: Final = 0.05
"""Most requests are answered by then, and cost a timer only."""
_READING: Final = frozenset({HTTPMethod.GET, HTTPMethod.HEAD})
_ABANDONABLE: Final = ("/dicom-web/studies", "/instances", "/tools/find", "/tools/count-resources", "/tools/lookup")
"""Paths of searches and uploads by POST."""


class CancelAbandonedMiddleware:
    """Cancels the handling of a request when its client disconnects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reads = scope["method"] in _READING
        client = _Client(receive, send, has_body=not reads)
        if reads or scope["path"].startswith(_ABANDONABLE):
            client.watch_later()
        try:
            await self._app(scope, client.receive, client.send)
        except asyncio.CancelledError:
            if not client.gone:
                raise
            log.info("client disconnected, request cancelled", path=scope["path"])
        finally:
            client.close()


class _Client:
    """The messages from and to the client of the request that the current task handles.

    Attributes:
        gone: it disconnected before it had the whole response, and the task was cancelled.
    """

    def __init__(self, receive: Receive, send: Send, *, has_body: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._receive = receive
        self._send = send
        self._read = has_body
        """The application reads the request, or will."""
        self._complete = False
        """All of the request was received."""
        self._early: Message | None = None
        """Received before the application requested it."""
        self._next: asyncio.Task[Message] | None = None
        """The message that is awaited beside the application."""
        self._timer: asyncio.TimerHandle | None = None
        self._watched = False
        self._finished = False
        self.gone = False

    def watch_later(self) -> None:
        """Cancel the task when the client disconnects, from soon on."""
        self._timer = self._task.get_loop().call_later(_WATCH_AFTER_SECONDS, self._watch)

    def _watch(self) -> None:
        self._watched = True
        if self._complete or not self._read:
            self._await_next()

    def _await_next(self) -> asyncio.Task[Message]:
        if self._next is None:
            self._next = asyncio.ensure_future(_receive(self._receive))
            self._next.add_done_callback(self._note_next)
        elif self._watched and self._next.done():
            self._note_next(self._next)
        return self._next

    def _note_next(self, received: asyncio.Task[Message]) -> None:
        if received.cancelled() or received.exception() is not None or self._finished:
            return
        if received.result()["type"] == "http.request":
            self._early, self._next = self._note(received.result()), None
            if self._complete:
                self._await_next()
        elif self._watched and not self.gone:
            self.gone = self._task.cancel()

    def _note(self, message: Message) -> Message:
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def receive(self) -> Message:
        """Return the next message, as an application expects it."""
        self._read = True
        if self._next is None and self._early is None and not self._complete:
            message = self._note(await self._receive())
            if self._complete and self._watched:
                self._await_next()
            return message
        if self._early is None:
            first = await asyncio.shield(self._await_next())
        else:
            first = self._early
        self._early = None
        return first

    async def send(self, message: Message) -> None:
        """Send a part of the response. Once it has begun nothing but itself is left to make."""
        if message["type"] == "http.response.start":
            if self._timer is None:
                self.watch_later()
        elif not message.get("more_body", False):
            self._finished = True
        await self._send(message)

    def close(self) -> None:
        """Stop watching. Raises `CancelledError` when others cancelled the task as well."""
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
        if self._next is not None:
            self._next.cancel()
        if self.gone and self._task.uncancel():
            raise asyncio.CancelledError


async def _receive(receive: Receive) -> Message:
    return await receive()
