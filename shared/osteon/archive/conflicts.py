"""Several data sets under one SOP Instance UID: the versions, the conflicts, the decisions on them.

Several patients under one Study Instance UID, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from osteon.archive.pack_records import PackOutcome, StoredPack
from osteon.archive.resources import Location, SplitSeries, SplitStudy, UnidentifiedPatient
from osteon.contracts.conflicts import ConflictDecided
from osteon.contracts.packs import Origin


@dataclass(frozen=True, slots=True)
class Version:
    """One of several data sets under the same SOP Instance UID, and where it came from.

    `reconciled_by`: the ids of the reconciliations that it was made by, joined by `+`; empty when it was received.
    """

    location: Location
    pack_id: str
    received: datetime
    origin: Origin
    calling_aet: str
    remote_host: str
    reconciled_by: str = ""

    @property
    def arrival(self) -> tuple[str, int]:
        """A sort key for the order of arrival: a pack's id begins with the time at which it was opened."""
        return self.pack_id, self.location.offset


@dataclass(frozen=True, slots=True)
class Conflict:
    """A version kept aside because its UID is known with other bytes. `resolved` is the time of the decision."""

    id: int
    served: Version
    aside: Version
    detected: datetime
    resolved: datetime | None = None

    @property
    def first(self) -> Version:
        """The version that arrived first."""
        return min(self.served, self.aside, key=lambda version: version.arrival)

    @property
    def second(self) -> Version:
        """The version that arrived second."""
        return max(self.served, self.aside, key=lambda version: version.arrival)


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """What it has shown to compare a version that is kept aside with the others of its instance.

    Attributes:
        sha256: of the version's data set.
        same_as: SHA-256 of another version that says the same in other bytes; None when all say something else, or
            cannot be compared.
    """

    sop_instance_uid: str
    sha256: bytes
    same_as: bytes | None


class ConflictingVersions(Protocol):
    """Conflicts, and what was decided about them. Every method raises `DatabaseUnavailable`."""

    async def conflicts(
        self, *, after: int = 0, limit: int = 100, study_uid: str | None = None, resolved: bool | None = False
    ) -> Sequence[Conflict]:
        """Return conflicts by growing id: open ones, resolved ones or (None) both, of all studies or of one."""

    async def conflict(self, conflict_id: int) -> Conflict:
        """Return a conflict; raises `ResourceNotFound`."""

    async def conflicting_versions(self, sop_uids: Sequence[str]) -> Sequence[Location]:
        """Return where the versions of instances are that are not served."""

    async def versions(self, sop_uids: Sequence[str]) -> Mapping[str, Sequence[Version]]:
        """Return all versions of instances by their UIDs; unknown ones are left out.

        The first is served, the second that which the last decision was against; then the others as they came.
        """

    async def note_decisions(self, decisions: Sequence[ConflictDecided]) -> None:
        """Note decisions on versions that are not indexed yet, which follow them then. Idempotent."""

    async def uncompared(
        self, *, sop_uids: Sequence[str] | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[Conflict]:
        """Return open conflicts by growing id whose versions were not compared yet: all, or those of instances."""

    async def note_comparisons(self, pack: StoredPack, found: Sequence[VersionComparison]) -> PackOutcome:
        """Turn conflicts that say the same as another version into duplicates, and count `pack` again. Idempotent.

        Versions that differ stay conflicts; where the newest is served, that of `pack` now can be.
        """

    async def split_studies(
        self, *, after: str = "", limit: int = 100, study_uid: str | None = None
    ) -> Sequence[SplitStudy]:
        """Return studies whose images name several patients, by their UIDs, those beyond `after`."""

    async def split_series(
        self, *, after: str = "", limit: int = 100, series_uid: str | None = None
    ) -> Sequence[SplitSeries]:
        """Return series whose images name several studies, by their UIDs, those beyond `after`."""

    async def unidentified_patients(self, *, limit: int = 100, offset: int = 0) -> Sequence[UnidentifiedPatient]:
        """Return the names of studies without Patient ID, by name; none while there is only one."""

    async def known_decisions(self, decision_ids: Sequence[str]) -> set[str]:
        """Return which of these decisions the index has."""

    async def decide(self, decision: ConflictDecided, version: StoredPack | None = None) -> None:
        """Note a decision and serve the version that it names, in one transaction. Idempotent, in any order.

        `version` holds the one entry that is to be served, and its pack's facts; without it only the versions that
        arrive later follow the decision.
        """
