"""An event loop whose clock stands still while the machine runs something else."""

import asyncio
import selectors
import time


class SteadyEventLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on a clock that counts what its thread computes and how long it meant to wait.

    Both ends of a test's connections are on one loop. While a busy machine runs something else, neither time-outs nor
    pauses run on, so what is shorter stays shorter. Calls that block the loop without computing do not count.
    """

    def __init__(self) -> None:
        self._waited = 0.0
        super().__init__(_CountingSelector(self))

    def time(self) -> float:
        """Return the seconds computed and waited, beginning anywhere."""
        return self._waited + time.thread_time()

    def count_wait(self, seconds: float) -> None:
        """Add what was waited for."""
        self._waited += seconds


class _CountingSelector(selectors.DefaultSelector):  # type: ignore[valid-type,misc]
    """Tells its loop how long it waited, but not for how long the machine was late."""

    def __init__(self, loop: SteadyEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        began = time.monotonic()
        try:
            found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
            return found
        finally:
            waited = time.monotonic() - began
            self._loop.count_wait(waited if timeout is None else min(waited, max(timeout, 0.0)))
