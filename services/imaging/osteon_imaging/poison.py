"""Remembers for a while which requests ended a worker, so that they do not end one after the other."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

_MOST: Final = 10_000


class Poison:
    """Requests and why they failed. `seconds`: how long each is remembered."""

    def __init__(self, seconds: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._reasons: OrderedDict[Hashable, tuple[float, str]] = OrderedDict()

    def add(self, request: Hashable, reason: str) -> None:
        """Remember a request; the oldest is forgotten when there are too many."""
        self._reasons[request] = (self._now() + self._seconds, reason)
        self._reasons.move_to_end(request)
        if len(self._reasons) > _MOST:
            self._reasons.popitem(last=False)

    def reason(self, request: Hashable) -> str:
        """Return why a request failed; empty when that is not known (any more)."""
        until, reason = self._reasons.get(request, (0.0, ""))
        if reason and until <= self._now():
            del self._reasons[request]
            return ""
        return reason
