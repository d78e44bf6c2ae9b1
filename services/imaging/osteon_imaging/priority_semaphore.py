"""A semaphore with priorities: urgent tasks take precedence, and one place is kept free for them."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count


class Urgency(IntEnum):
    """How long a task may wait; a lower one goes first."""

    NOW = 0
    """A user waits for the image."""
    SOON = 1
    LATER = 2
    """No client waits yet."""


class PrioritySemaphore:
    """At most `places` tasks at a time, of which all but one (where there are several) may be such that can wait."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._for_patient = max(1, places - 1)
        self._numbers = count()
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def acquire(self, urgency: Urgency) -> AsyncIterator[None]:
        """Wait for a place and hold it for the block."""
        mine = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._numbers), mine))
        self._grant()
        try:
            await mine
            yield
        finally:
            if mine.done() and not mine.cancelled():
                self._move(urgency, 1)
            mine.cancel()
            self._grant()

    def _grant(self) -> None:
        while self._waiting:
            urgency, _, future = self._waiting[0]
            if not future.done():
                if not self._free or (urgency is not Urgency.NOW and not self._for_patient):
                    return
                self._move(urgency, -1)
                future.set_result(None)
            heapq.heappop(self._waiting)

    def _move(self, urgency: Urgency, places: int) -> None:
        self._free += places
        if urgency is not Urgency.NOW:
            self._for_patient += places
