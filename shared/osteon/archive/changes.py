"""The change log: what happened to which resource, and how far each reader has handled it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from osteon.dicom.models import Level


class ChangeType(StrEnum):
    """What happened to a resource, in Orthanc's words."""

    NEW_PATIENT = "NewPatient"
    NEW_STUDY = "NewStudy"
    NEW_SERIES = "NewSeries"
    NEW_INSTANCE = "NewInstance"
    DELETED = "Deleted"
    STABLE_PATIENT = "StablePatient"
    STABLE_STUDY = "StableStudy"
    STABLE_SERIES = "StableSeries"
    UPDATED_METADATA = "UpdatedMetadata"
    UPDATED_ATTACHMENT = "UpdatedAttachment"
    MODIFIED_PATIENT = "ModifiedPatient"
    MODIFIED_STUDY = "ModifiedStudy"
    MODIFIED_SERIES = "ModifiedSeries"
    ANONYMIZED_PATIENT = "AnonymizedPatient"
    ANONYMIZED_STUDY = "AnonymizedStudy"
    ANONYMIZED_SERIES = "AnonymizedSeries"


ABOVE_INSTANCES: Final = frozenset(
    {
        ChangeType.NEW_PATIENT, ChangeType.NEW_STUDY, ChangeType.NEW_SERIES, ChangeType.STABLE_PATIENT,
        ChangeType.STABLE_STUDY, ChangeType.STABLE_SERIES, ChangeType.MODIFIED_PATIENT, ChangeType.MODIFIED_STUDY,
        ChangeType.MODIFIED_SERIES, ChangeType.ANONYMIZED_PATIENT, ChangeType.ANONYMIZED_STUDY,
        ChangeType.ANONYMIZED_SERIES,
    }
)  # fmt: skip
"""Types that instances never have: reading these alone leaves the entries of the many instances out."""


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of the change log. `seq` grows in the order in which changes became visible."""

    seq: int
    type: ChangeType
    level: Level
    public_id: str
    date: datetime


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Entries after `since`; `done` says that there were no more, `last` is the last one's seq (or `since`)."""

    changes: Sequence[Change]
    done: bool
    last: int


class ChangeLog(Protocol):
    """The change log. Every method raises `DatabaseUnavailable`."""

    async def changes(
        self, *, since: int = 0, to: int | None = None, limit: int = 100, types: Sequence[ChangeType] = ()
    ) -> ChangePage:
        """Return changes with since < seq <= to, oldest first."""

    async def log_changes(self, entries: Sequence[tuple[ChangeType, Level, str]]) -> None:
        """Add entries about resources, by their public identifiers."""

    async def last_change(self) -> Change | None:
        """Return the newest entry of the change log."""


class Stability(Protocol):
    """Finds resources that stopped growing. Every method raises `DatabaseUnavailable`."""

    async def mark_stable(self, before: datetime, *, limit: int = 500) -> int:
        """Log, once for all callers, that what got its last instance by `before` is stable; return how many are new."""

    async def position(self, name: str) -> int:
        """Return the entry up to which a reader has handled the change log; 0 at first."""

    async def advance(self, name: str, seq: int) -> None:
        """Note that a reader has handled the change log up to an entry; it never goes back."""
