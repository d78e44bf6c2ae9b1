"""Remembers for a while what ended a worker, so that it does not end one after the other."""

import time
from collections.abc import Callable, Hashable
from typing import Final

from cachetools import TTLCache

from osteon.byte_caches import show_size
from osteon_imaging.tasks import TaskOutcome

_MOST: Final = 2_000
_ENTRY_BYTES: Final = 3_000
"""Of memory for a request or an instance, and its outcome, at most."""
STRIKES: Final = 3
"""Different requests for one instance that ended a worker; then no further one is tried."""


class PoisonCache:
    """Requests, the instances they were about, and how they ended. `seconds`: how long each is remembered."""

    def __init__(self, seconds: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._requests: TTLCache[Hashable, TaskOutcome] = TTLCache(_MOST, seconds, now)
        self._instances: TTLCache[Hashable, tuple[int, TaskOutcome]] = TTLCache(_MOST, seconds, now)
        for cache in (self._requests, self._instances):
            show_size("poisoned_requests", cache, lambda cache: cache.currsize * _ENTRY_BYTES)

    def add(self, request: Hashable, instance: Hashable, outcome: TaskOutcome) -> None:
        """Remember a request; what was looked at least lately is forgotten when there are too many."""
        strikes, _ = self._instances.get(instance, (0, outcome))
        self._instances[instance] = strikes + 1, outcome
        self._requests[request] = outcome

    def outcome(self, request: Hashable, instance: Hashable) -> TaskOutcome | None:
        """Return how a request failed, or enough others for its instance; None when that is not known (any more)."""
        if (found := self._requests.get(request)) is not None:
            return found
        strikes, found = self._instances.get(instance, (0, None))
        return found if strikes >= STRIKES else None
