"""Which faults a storm brings, and when: the same for the same seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What goes wrong."""

    KILL = "kill"
    """SIGKILL to a process and its children; started again when the fault ends."""
    PAUSE = "pause"
    """SIGSTOP, then SIGCONT."""
    CUT = "cut"
    """Connections are reset, and new ones too."""
    STALL = "stall"
    """Connections stay open, nothing passes."""
    DELAY = "delay"
    """Everything passes late."""
    FULL = "full"
    """No room on the file system of the spool."""
    SYNC = "sync"
    """Every second fsync and fdatasync fails with EIO."""
    WRITE = "write"
    """Every third positioned write fails with ENOSPC."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault at a target: a process, a link or a disk."""

    kind: Kind
    target: str

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


@dataclass(frozen=True, slots=True)
class Event:
    """Faults that begin together, `after` seconds of calm, and last `hold` seconds."""

    after: float
    faults: tuple[Fault, ...]
    hold: float


@dataclass(frozen=True, slots=True)
class Targets:
    """What there is to go wrong in an archive."""

    processes: tuple[str, ...]
    links: tuple[str, ...]
    doors: tuple[str, ...]
    """Processes that write to the spool's disk."""

    def faults(self, kind: Kind) -> list[Fault]:
        """Return the faults of a kind."""
        where = {
            Kind.KILL: self.processes,
            Kind.PAUSE: self.processes,
            Kind.FULL: ("disk",),
            Kind.SYNC: self.doors,
            Kind.WRITE: self.doors,
        }
        return [Fault(kind, target) for target in where.get(kind, self.links)]


WEIGHTS = {
    Kind.KILL: 8, Kind.PAUSE: 4, Kind.CUT: 3, Kind.STALL: 2, Kind.DELAY: 2, Kind.FULL: 2, Kind.SYNC: 2, Kind.WRITE: 1,
}  # fmt: skip


def plan(seed: int, seconds: float, targets: Targets) -> list[Event]:
    """Return events for about so many seconds, time to recover not counted."""
    dice = random.Random(seed)
    events: list[Event] = []
    left = seconds
    while left > 0:
        event = Event(dice.uniform(0.5, 3.0), tuple(_faults(dice, targets)), dice.uniform(0.5, 6.0))
        events.append(event)
        left -= event.after + event.hold
    return events


def _faults(dice: random.Random, targets: Targets) -> Iterator[Fault]:
    """One fault, or two at different targets."""
    hit: set[str] = set()
    for _ in range(dice.choices((1, 2), (3, 1))[0]):
        [kind] = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        fault = dice.choice(targets.faults(kind))
        if fault.target not in hit:
            hit.add(fault.target)
            yield fault
