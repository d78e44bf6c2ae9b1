"""Remembers for a while what ended a worker, so that it does not end one after the other."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from osteon_imaging.tasks import TaskOutcome

_MOST: Final = 10_000
STRIKES: Final = 3
"""Different requests for one instance that ended a worker; then no further one is tried."""


@dataclass(frozen=True, slots=True)
class _Memory:
    until: float
    outcome: TaskOutcome
    strikes: int = 1


class PoisonCache:
    """Requests, the instances they were about, and how they ended. `seconds`: how long each is remembered."""

    def __init__(self, seconds: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._requests: OrderedDict[Hashable, _Memory] = OrderedDict()
        self._instances: OrderedDict[Hashable, _Memory] = OrderedDict()

    def add(self, request: Hashable, instance: Hashable, outcome: TaskOutcome) -> None:
        """Remember a request; the oldest is forgotten when there are too many."""
        until = self._now() + self._seconds
        before = self._recall(self._instances, instance)
        _keep(self._instances, instance, _Memory(until, outcome, before.strikes + 1 if before else 1))
        _keep(self._requests, request, _Memory(until, outcome))

    def outcome(self, request: Hashable, instance: Hashable) -> TaskOutcome | None:
        """Return how a request failed, or enough others for its instance; None when that is not known (any more)."""
        if memory := self._recall(self._requests, request):
            return memory.outcome
        memory = self._recall(self._instances, instance)
        return memory.outcome if memory and memory.strikes >= STRIKES else None

    def _recall(self, memories: OrderedDict[Hashable, _Memory], key: Hashable) -> _Memory | None:
        memory = memories.get(key)
        if memory and memory.until <= self._now():
            del memories[key]
            return None
        return memory


def _keep(memories: OrderedDict[Hashable, _Memory], key: Hashable, memory: _Memory) -> None:
    memories[key] = memory
    memories.move_to_end(key)
    if len(memories) > _MOST:
        memories.popitem(last=False)
