"""A timer that is cheap to restart: every read restarts one."""

import asyncio
from collections.abc import Callable
from math import inf


class RestartableTimer:
    """Calls `expired` once, `seconds` after the last `start`. Keeps at most one handle in the loop."""

    __slots__ = ("_deadline", "_due", "_expired", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._deadline = inf
        self._due = inf
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Restart; an infinite time stops the timer."""
        self._deadline = self._loop.time() + seconds
        # A later deadline leaves the handle as it is: `_check` moves it when it comes.
        if self._deadline < self._due:
            self._schedule()

    def stop(self) -> None:
        """Never call again unless started."""
        self._deadline = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._due = inf

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = self._deadline
        self._handle = self._loop.call_at(self._due, self._check)

    def _check(self) -> None:
        self._handle, self._due = None, inf
        if self._loop.time() >= self._deadline:
            self._deadline = inf
            self._expired()
        elif self._deadline < inf:
            self._schedule()
