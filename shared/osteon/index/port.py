"""The index as services see it: what it is given, what it answers, and its errors.

Patients are one per Patient ID, studies one per (patient, Study Instance UID), series one per (study, Series Instance
UID), instances one per SOP Instance UID. Public identifiers are Orthanc's (`osteon.dicom.identity`).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from osteon.commitment.port import Commitments
from osteon.contracts.conflicts import ConflictDecided
from osteon.contracts.packs import Origin, PackStored
from osteon.dicom.identity import Identity
from osteon.dicom.query import Level, Search
from osteon.errors import FailureKind, Invalid, NotFound, Unavailable
from osteon.jobs.port import Jobs
from osteon.remotes.port import Remotes
from osteon.remotes.queries import Queries
from osteon.rules.port import Circuits, Rules


class IndexUnavailable(Unavailable):
    """The database does not answer, or a transaction has to be repeated."""


class ResourceNotFound(NotFound):
    """No patient, study, series or instance has this identifier."""


class BadCursor(Invalid):
    """The cursor is not one that this index gave out."""

    kind = FailureKind.UNREADABLE


@dataclass(frozen=True, slots=True)
class InstanceEntry:
    """One line of a sidecar, as the index needs it. Offsets and lengths in bytes, within the pack."""

    identity: Identity
    transfer_syntax_uid: str
    offset: int
    """Of the Part 10 file."""
    length: int
    """Of the Part 10 file."""
    sha256: bytes
    """Of the data set, 32 bytes."""
    attributes: Mapping[str, str]
    """`osteon.dicom.attributes.held_values` of the header."""
    requests: tuple[tuple[str, str], ...] = ()
    """`osteon.dicom.attributes.request_attributes` of the header."""


@dataclass(frozen=True, slots=True)
class StoredPack:
    """A pack to be indexed."""

    facts: PackStored
    instances: Sequence[InstanceEntry]


@dataclass(frozen=True, slots=True)
class PackOutcome:
    """What became of a pack. Indexing the same pack again gives the same outcome and changes nothing."""

    pack_id: str
    stored: int
    duplicates: int
    conflicts: int

    @property
    def redundant(self) -> bool:
        """No row refers to the pack: all its instances are in other packs already, so its objects may go."""
        return not self.stored and not self.conflicts


class InstanceState(StrEnum):
    """What became of one instance of a pack."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an instance's bytes are: `length` bytes at `offset` of the object `key`."""

    identity: Identity
    transfer_syntax_uid: str
    key: str
    sidecar_key: str
    offset: int
    length: int
    sha256: bytes
    public_id: str


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient. `attributes` by keyword, as DICOM text; absent ones are left out.

    `stable`: no instance came for a while, and the change log says so; of studies and series too.
    """

    public_id: str
    attributes: Mapping[str, str]
    studies: int
    series: int
    instances: int
    size: int
    updated: datetime
    stable: bool = True


@dataclass(frozen=True, slots=True)
class Study:
    """A study, with the patient's attributes as they were in the study's first instance."""

    public_id: str
    attributes: Mapping[str, str]
    patient_attributes: Mapping[str, str]
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    series: int
    instances: int
    size: int
    updated: datetime
    stable: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """A series. `requests` holds (Scheduled Procedure Step ID, Requested Procedure ID) of its requests."""

    public_id: str
    attributes: Mapping[str, str]
    requests: tuple[tuple[str, str], ...]
    instances: int
    size: int
    updated: datetime
    stable: bool = True


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance and where its bytes are."""

    public_id: str
    attributes: Mapping[str, str]
    location: Location
    received: datetime


@dataclass(frozen=True, slots=True)
class Match:
    """One resource with everything above it; what is below the level searched is None."""

    level: Level
    patient: Patient
    study: Study | None = None
    series: Series | None = None
    instance: Instance | None = None

    @property
    def public_id(self) -> str:
        """Of the resource at `level`."""
        lowest = self.instance or self.series or self.study or self.patient
        return lowest.public_id


@dataclass(frozen=True, slots=True)
class MatchPage:
    """Some matches; `cursor` continues behind them and is None at the end."""

    matches: Sequence[Match]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class LocationPage:
    """Where some instances are; `cursor` continues behind them and is None at the end."""

    locations: Sequence[Location]
    cursor: str | None = None


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


@dataclass(frozen=True, slots=True)
class Version:
    """One of several data sets that came under the same SOP Instance UID, and how it came."""

    location: Location
    pack_id: str
    received: datetime
    origin: Origin
    calling_aet: str
    remote_host: str

    @property
    def arrival(self) -> tuple[str, int]:
        """Sorts versions as they came: a pack's id begins with the time at which it was begun."""
        return self.pack_id, self.location.offset


@dataclass(frozen=True, slots=True)
class Conflict:
    """A version kept aside because its UID is known with other bytes. `resolved` is when somebody decided."""

    id: int
    served: Version
    aside: Version
    detected: datetime
    resolved: datetime | None = None

    @property
    def first(self) -> Version:
        """The version that came first."""
        return min(self.served, self.aside, key=lambda version: version.arrival)

    @property
    def second(self) -> Version:
        """The version that came second."""
        return max(self.served, self.aside, key=lambda version: version.arrival)


@dataclass(frozen=True, slots=True)
class PackRows:
    """What the index says about a pack. `end` is the byte behind the last instance that is in it.

    `stored` and `conflicts` are as they were counted, `instances` and `aside` the rows that there are.
    """

    pack_id: str
    key: str
    sidecar_key: str
    size: int
    stored: int
    conflicts: int
    instances: int
    aside: int
    end: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals. `size` in bytes, of all instances served."""

    patients: int = 0
    studies: int = 0
    series: int = 0
    instances: int = 0
    packs: int = 0
    conflicts: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Scope:
    """Which instances: of a study, or of a series of it, or one. Any field may be left out; all given must hold."""

    study_uid: str | None = None
    series_uid: str | None = None
    sop_uids: tuple[str, ...] = field(default=())
    public_id: str | None = None
    """Of a patient, study, series or instance."""


class Stability(Protocol):
    """Finds resources that stopped growing. Every method raises `IndexUnavailable`."""

    async def settle(self, before: datetime, *, limit: int = 500) -> int:
        """Log that what got its last instance by `before` is stable, once however many ask; return how many."""

    async def followed(self, name: str) -> int:
        """Return up to which entry of the change log somebody has handled it."""

    async def follow(self, name: str, seq: int) -> None:
        """Note that somebody has handled the change log up to an entry; it never goes back."""


class Index(Protocol):
    """Write packs in, search, locate. Every method raises `IndexUnavailable` when the database does not answer."""

    @property
    def remotes(self) -> Remotes:
        """Modalities and peers."""

    @property
    def jobs(self) -> Jobs:
        """Work that outlives a request."""

    @property
    def queries(self) -> Queries:
        """Searches in other archives."""

    @property
    def rules(self) -> Rules:
        """Routing rules."""

    @property
    def circuits(self) -> Circuits:
        """Destinations that fail."""

    @property
    def stability(self) -> Stability:
        """Resources that stopped growing."""

    @property
    def commitments(self) -> Commitments:
        """Transactions of storage commitment."""

    async def start(self) -> None:
        """Connect and bring the schema up to date, one process at a time."""

    async def close(self) -> None:
        """Disconnect."""

    async def check(self) -> None:
        """Raise `IndexUnavailable` with what is wrong (for `/readyz`)."""

    async def upsert(self, packs: Sequence[StoredPack]) -> Sequence[PackOutcome]:
        """Index a batch of packs in one transaction; outcomes in the order of `packs`. Idempotent."""

    async def outcome(self, pack_id: str) -> Mapping[str, InstanceState]:
        """Return what became of each instance of an indexed pack, by SOP Instance UID; empty when not indexed."""

    async def known_packs(self, pack_ids: Sequence[str]) -> set[str]:
        """Return which of these packs have been indexed (redundant ones included)."""

    async def search(self, search: Search) -> MatchPage:
        """Return one page of matches."""

    async def located(self, search: Search) -> LocationPage:
        """Return where the instances of one page of a search at IMAGE level are, pack by pack within the page."""

    async def count(self, search: Search) -> int:
        """Return how many resources match; limit, offset and cursor do not count."""

    async def get(self, level: Level, public_id: str) -> Match:
        """Return a resource; raises `ResourceNotFound`."""

    async def lookup(self, identifier: str) -> Sequence[tuple[Level, str]]:
        """Find a Patient ID, Accession Number or UID, without regard to case: (level, public identifier) of each."""

    def locate(self, scope: Scope) -> AsyncIterator[Location]:
        """Iterate over instances, pack by pack in the order of their bytes, with bounded memory."""

    async def representatives(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, Location]:
        """Return where one instance of each resource of a level is, always the same one; unknown ones are left out."""

    async def changes(
        self, *, since: int = 0, to: int | None = None, limit: int = 100, types: Sequence[ChangeType] = ()
    ) -> ChangePage:
        """Return changes with since < seq <= to, oldest first."""

    async def last_change(self) -> Change | None:
        """Return the newest entry of the change log."""

    async def statistics(self) -> Statistics:
        """Return totals of the whole archive."""

    async def conflicts(
        self, *, after: int = 0, limit: int = 100, study_uid: str | None = None, resolved: bool | None = False
    ) -> Sequence[Conflict]:
        """Return conflicts by growing id: open ones, resolved ones or (None) both, of all studies or of one."""

    async def conflict(self, conflict_id: int) -> Conflict:
        """Return a conflict; raises `ResourceNotFound`."""

    async def aside(self, sop_uids: Sequence[str]) -> Sequence[Location]:
        """Return where the versions of instances are that are not served."""

    async def known_decisions(self, decision_ids: Sequence[str]) -> set[str]:
        """Return which of these decisions the index has."""

    async def decide(self, decision: ConflictDecided, version: StoredPack | None = None) -> None:
        """Note a decision and serve the version that it names, in one transaction. Idempotent, in any order.

        `version` holds the one entry that is to be served, and its pack's facts; without it only the versions that
        come later follow the decision.
        """

    async def heal(self, pack: StoredPack, lost: Sequence[str]) -> PackOutcome:
        """Let the rows of `pack`'s instances point at `pack` where they point at one of the packs `lost`."""

    async def copies(self, pack_id: str) -> Sequence[tuple[str, str]]:
        """Return the keys (pack, sidecar) of other packs that came with instances which are served from this one."""

    def packs(
        self, *, after: str = "", study_uid: str | None = None, only: str | None = None
    ) -> AsyncIterator[PackRows]:
        """Iterate over the packs with ids beyond `after`, or `only` one, by growing id, a page at a time."""

    def members(self, pack_id: str) -> AsyncIterator[Location]:
        """Iterate over what rows and conflicts say is in a pack, in the order of their bytes."""
