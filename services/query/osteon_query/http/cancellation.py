"""Work for a client that went away is cancelled, once nothing of the request is left to read.

Requests that change something other than by an upload run to their end.
"""

import asyncio
from collections.abc import Awaitable
from http import HTTPMethod
from typing import Final, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon.logging import get_logger

log = get_logger(__name__)

T = TypeVar("T")

_READING: Final = frozenset({HTTPMethod.GET, HTTPMethod.HEAD})
_ABANDONABLE: Final = ("/dicom-web/studies", "/instances", "/tools/find", "/tools/count-resources", "/tools/lookup")
"""Paths of searches and uploads by POST."""


class CancelAbandonedMiddleware:
    """Cancels the handling of a request when its client disconnects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass unchanged."""
        reads = scope["type"] == "http" and scope["method"] in _READING
        if not reads and not (scope["type"] == "http" and scope["path"].startswith(_ABANDONABLE)):
            await self._app(scope, receive, send)
            return
        incoming = _Incoming(receive)
        handling = asyncio.ensure_future(_as_coroutine(self._app(scope, incoming.receive, send)))
        leaving = asyncio.create_task(incoming.wait_disconnected(has_body=not reads))
        try:
            await asyncio.wait((handling, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not handling.done():
                log.info("client disconnected, request cancelled", path=scope["path"])
                handling.cancel()
                await asyncio.wait((handling,))
            if not handling.cancelled():
                handling.result()
        finally:
            for task in (handling, leaving):
                task.cancel()
            incoming.close()
            await asyncio.gather(handling, leaving, return_exceptions=True)


class _Incoming:
    """The messages of a request: the body goes to the application, what follows to the task that waits for its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._complete = asyncio.Event()
        self._last: asyncio.Future[Message] | None = None
        self._reading = asyncio.Lock()
        self._early: Message | None = None

    async def receive(self) -> Message:
        """Return the next message, as an application expects it."""
        async with self._reading:
            if self._early is not None:
                message, self._early = self._early, None
                return message
            if not self._complete.is_set():
                return self._note(await self._receive())
        return await self._disconnect()

    def _note(self, message: Message) -> Message:
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._complete.set()
        return message

    async def wait_disconnected(self, *, has_body: bool) -> None:
        """Wait until the client goes away; without a body nobody else may ask for messages."""
        if not has_body:
            async with self._reading:
                if not self._complete.is_set():
                    self._early = self._note(await self._receive())
        await self._complete.wait()
        await self._disconnect()

    def close(self) -> None:
        """Stop waiting."""
        if self._last is not None:
            self._last.cancel()

    async def _disconnect(self) -> Message:
        if self._last is None:
            self._last = asyncio.ensure_future(_as_coroutine(self._receive()))
        return await asyncio.shield(self._last)


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work
