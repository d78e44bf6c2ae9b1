"""Which faults a storm brings, and when: the same for the same seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
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

    kind: FaultKind
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

    def faults(self, kind: FaultKind) -> list[Fault]:
        """Return the faults of a kind."""
        where = {
            FaultKind.KILL: self.processes,
            FaultKind.PAUSE: self.processes,
            FaultKind.FULL: ("disk",),
            FaultKind.SYNC: self.doors,
            FaultKind.WRITE: self.doors,
        }
        return [Fault(kind, target) for target in where.get(kind, self.links)]


DECK = {
    FaultKind.KILL: 6, FaultKind.PAUSE: 3, FaultKind.CUT: 2, FaultKind.STALL: 1,
    FaultKind.DELAY: 1, FaultKind.FULL: 1, FaultKind.SYNC: 1, FaultKind.WRITE: 1,
}  # fmt: skip
"""How often each kind comes before the cards are mixed again: short storms see many kinds too."""


def plan(seed: int, seconds: float, targets: Targets) -> list[Event]:
    """Return events for about so many seconds, time to recover not counted."""
    dice = random.Random(seed)
    kinds = _deal(dice)
    events: list[Event] = []
    left = seconds
    while left > 0:
        event = Event(dice.uniform(0.5, 3.0), tuple(_faults(dice, kinds, targets)), dice.uniform(0.5, 6.0))
        events.append(event)
        left -= event.after + event.hold
    return events


def _deal(dice: random.Random) -> Iterator[FaultKind]:
    while True:
        yield from dice.sample(list(DECK), k=sum(DECK.values()), counts=list(DECK.values()))


def _faults(dice: random.Random, kinds: Iterator[FaultKind], targets: Targets) -> Iterator[Fault]:
    """One fault, or two at different targets."""
    hit: set[str] = set()
    for _ in range(dice.choices((1, 2), (3, 1))[0]):
        fault = dice.choice(targets.faults(next(kinds)))
        if fault.target not in hit:
            hit.add(fault.target)
            yield fault
