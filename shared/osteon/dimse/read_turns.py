"""Shares the event loop between connections: what one peer has sent is processed in slices, between those of others."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from osteon.dimse.stream import SLICE_STEPS

ROUND_STEPS: Final = 16 * SLICE_STEPS
"""Steps (headers and fragments) of all connections that are taken at once, before everything waits for its turn."""
_WINDOW_SECONDS: Final = 0.05
"""Steps that are older do not count any more."""


class ReadTurns:
    """The connections that have received more than a slice of work takes.

    One slice of one of them is processed in each round of the loop, whatever their number, so that peers that send
    much that is small hold up neither each other nor anything else on the loop.

    Attributes:
        buffer: what the loop reads into, shared by the connections, because each read is consumed or copied before
            the next begins.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self.buffer = memoryview(bytearray(size))
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._spent = 0
        self._since = loop.time()

    @property
    def crowded(self) -> bool:
        """So much was processed in this round that what is read now has to wait for its turn."""
        return self._spent >= ROUND_STEPS

    def spend(self, steps: int) -> None:
        """Count what was processed."""
        now = self._loop.time()
        if now - self._since > _WINDOW_SECONDS:
            self._since, self._spent = now, 0
        self._spent += steps

    def wait(self, proceed: Callable[[], None]) -> None:
        """Call `proceed` for one slice when those that wait have had theirs."""
        self._waiting.append(proceed)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._spent = 0
        proceed = self._waiting.popleft()
        if self._waiting:
            self._loop.call_soon(self._next)
        proceed()
