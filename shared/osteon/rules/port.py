"""Routing rules, where they are kept, and the state of the destinations that they send to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from osteon.rules.conditions import RuleCondition


class When(StrEnum):
    """What lets a rule be tried."""

    INSTANCE = "instance"
    """Instances were indexed."""
    STUDY = "study"
    """A study is stable."""


class DestinationKind(StrEnum):
    """Where instances can be sent; a STOW-RS service is a peer with `DicomWeb`."""

    MODALITY = "modality"
    PEER = "peer"


class Destination(NamedTuple):
    """A modality or peer by its name."""

    kind: DestinationKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that can be tried.

    Attributes:
        whole_study: sends all of the study when one of its instances matches; with `When.STUDY` only.
        patience: seconds for which sending is tried; what came in longer ago is not routed any more.
        return_to_sender: instances may also go to the application entity that sent them.
    """

    name: str
    when: When
    match: RuleCondition
    send: tuple[Destination, ...]
    whole_study: bool = False
    priority: int = 0
    patience: float
    return_to_sender: bool = False
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule as it was given: JSON in the form of `osteon.rules.parsing`. `enabled` takes precedence over `body`."""

    name: str
    body: Mapping[str, Any]
    enabled: bool


class Rules(Protocol):
    """One list for all replicas. Every method raises `DatabaseUnavailable`."""

    async def all(self) -> Sequence[StoredRule]:
        """Return all, by name."""

    async def get(self, name: str) -> StoredRule:
        """Return one; raises `RuleNotFound`."""

    async def put(self, rule: StoredRule) -> None:
        """Add it, or replace the one with its name."""

    async def enable(self, name: str, enabled: bool) -> None:
        """Let it be tried or not; raises `RuleNotFound`."""

    async def delete(self, name: str) -> None:
        """Remove it; raises `RuleNotFound`."""


class CircuitState(StrEnum):
    """Of a destination: works (or has failed a few times), is not called, or is being tried by one job."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """A destination that has failed, without a success since.

    Attributes:
        failures: one after the other.
        retry: nothing is sent before; None while the circuit is closed.
        probing: until when a job may try it; None while no job does.
    """

    destination: str
    failures: int
    error: str
    since: datetime
    retry: datetime | None = None
    probing: datetime | None = None

    def state(self, now: datetime) -> CircuitState:
        """Return the state at a moment."""
        if self.retry is None:
            return CircuitState.CLOSED
        trying = self.probing is not None and self.probing > now
        return CircuitState.HALF_OPEN if trying else CircuitState.OPEN


class Circuits(Protocol):
    """One truth for all replicas. Every method raises `DatabaseUnavailable`."""

    async def all(self) -> Sequence[Circuit]:
        """Return the destinations that have failed, by name."""

    async def get(self, destination: str) -> Circuit | None:
        """Return one; None when it works."""

    async def probe(self, destination: str, now: datetime, until: datetime) -> bool:
        """Take the one turn to try a destination again that there is until `until`; False: not yet, or taken."""

    async def failed(self, destination: str, error: str, now: datetime) -> int:
        """Count a failure; return how many there were one after the other."""

    async def open(self, destination: str, retry: datetime) -> None:
        """Send nothing to the destination until `retry`."""

    async def close(self, destination: str) -> None:
        """Forget all failures."""
