"""Whose turn it is: urgent tasks go before others, and one place is kept free for them."""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count


class Urgency(IntEnum):
    """How long a task may wait; a lower one goes first."""

    NOW = 0
    """A person looks at an empty screen."""
    SOON = 1
    LATER = 2
    """Nobody waits yet."""


class Turns:
    """At most `places` tasks at a time; all but one of them (of several) are for tasks that are not urgent, too."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._kept = min(1, places - 1)
        self._numbers = count()
        self._waiting: list[tuple[Urgency, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, urgency: Urgency) -> AsyncIterator[None]:
        """Wait for a turn and have it for the block."""
        mine = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, next(self._numbers), mine))
        self._grant()
        try:
            await mine
            yield
        finally:
            if mine.done() and not mine.cancelled():
                self._free += 1
            mine.cancel()
            self._grant()

    def _grant(self) -> None:
        while self._waiting:
            urgency, _, future = self._waiting[0]
            if not future.done():
                if self._free <= (0 if urgency is Urgency.NOW else self._kept):
                    return
                self._free -= 1
                future.set_result(None)
            heapq.heappop(self._waiting)
