"""C-FIND requests of `ingress`: each page is searched until it is found, too late, or cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from cachetools import TTLCache

from osteon.byte_caches import show_size
from osteon.contracts.find import FindCancelled, FindPageReply, FindPageRequest
from osteon.errors import FailureKind, OsteonError
from osteon.logging import correlated, get_logger

_REMEMBERED: Final = 1_000
"""Cancelled requests that may still wait in the queue."""
_REMEMBERED_SECONDS: Final = 120.0
_REMEMBERED_BYTES: Final = 600
"""Of memory for one of them."""
log = get_logger(__name__)


class SearchAbandoned(OsteonError):
    """Nobody waits for the result of a search any more."""

    kind = FailureKind.TIMEOUT


class FindRequests:
    """Answers requests with `find`, and ends those that nobody waits for."""

    def __init__(self, find: Callable[[FindPageRequest], Awaitable[FindPageReply]]) -> None:
        self._find = find
        self._running: dict[str, asyncio.Task[FindPageReply]] = {}
        self._cancelled: TTLCache[str, bool] = TTLCache(_REMEMBERED, _REMEMBERED_SECONDS)
        show_size("cancelled_searches", self._cancelled, lambda cache: cache.currsize * _REMEMBERED_BYTES)

    @property
    def running(self) -> int:
        """Searches that are under way."""
        return len(self._running)

    async def answer(self, request: FindPageRequest) -> FindPageReply:
        """Return a page. Raises what `find` raises, and `SearchAbandoned`."""
        with correlated(request.correlation_id):
            if request.request_id in self._cancelled:
                raise SearchAbandoned("cancelled before it began")
            return await self._search(request)

    async def cancel(self, message: FindCancelled) -> None:
        """End a search, or do not begin it."""
        if message.request_id:
            self._cancelled[message.request_id] = True
        if (task := self._running.get(message.request_id)) is not None:
            task.cancel()

    async def _search(self, request: FindPageRequest) -> FindPageReply:
        # A task of its own: cancelling it must not end the consumer that waits for it.
        task = asyncio.ensure_future(self._find(request))
        if request.request_id:
            self._running[request.request_id] = task
        try:
            await asyncio.wait([task], timeout=request.timeout_seconds)
        finally:
            self._running.pop(request.request_id, None)
            in_time = task.done() and not task.cancelled()
            task.cancel()
        if in_time:
            return task.result()
        raise SearchAbandoned("cancelled" if request.request_id in self._cancelled else "took too long")
