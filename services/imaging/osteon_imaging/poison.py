"""Remembers for a while which requests ended a worker, so that they do not end one after the other."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from osteon_imaging.tasks import Outcome

_MOST: Final = 10_000


class Poison:
    """Requests and how they ended. `seconds`: how long each is remembered."""

    def __init__(self, seconds: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._outcomes: OrderedDict[Hashable, tuple[float, Outcome]] = OrderedDict()

    def add(self, request: Hashable, outcome: Outcome) -> None:
        """Remember a request; the oldest is forgotten when there are too many."""
        self._outcomes[request] = (self._now() + self._seconds, outcome)
        self._outcomes.move_to_end(request)
        if len(self._outcomes) > _MOST:
            self._outcomes.popitem(last=False)

    def outcome(self, request: Hashable) -> Outcome | None:
        """Return how a request failed; None when that is not known (any more)."""
        until, outcome = self._outcomes.get(request, (0.0, None))
        if outcome and until <= self._now():
            del self._outcomes[request]
            return None
        return outcome
