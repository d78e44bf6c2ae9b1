"""Patients, studies, series and instances as the index has them, and where the bytes of instances are.

Patients are one per Patient ID, studies one per (patient, Study Instance UID), series one per (study, Series Instance
UID), instances one per SOP Instance UID. Public identifiers are Orthanc's (`osteon.dicom.identity`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from osteon.contracts.packs import Origin, SidecarPlace
from osteon.dicom.identity import Identity
from osteon.dicom.models import Level


@dataclass(frozen=True, slots=True)
class Location:
    """Where an instance's bytes are: `length` bytes at `offset` of the object `key`.

    `sha256` is of the data set, `xxh3` (XXH3-128) of the whole file, empty when it is not known.
    """

    identity: Identity
    transfer_syntax_uid: str
    key: str
    sidecar: SidecarPlace
    offset: int
    length: int
    sha256: bytes
    public_id: str
    xxh3: bytes = b""


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient. `attributes` by keyword, as DICOM text; absent ones are left out.

    `stable`: no instance arrived for a while, which the change log reports; of studies and series too.
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
    """An instance, where its bytes are, and who sent it: an AE title for DIMSE, an address."""

    public_id: str
    attributes: Mapping[str, str]
    location: Location
    received: datetime
    origin: Origin = Origin.HTTP
    calling_aet: str = ""
    remote_host: str = ""


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
class SplitStudy:
    """A study whose images name several patients: `parts` are its resources, one for each patient, the first first."""

    study_uid: str
    parts: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class SplitSeries:
    """A series whose images name several studies: `parts` are its resources, one for each study and patient."""

    series_uid: str
    parts: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class UnidentifiedPatient:
    """A name and a date of birth of studies without Patient ID: how many studies, and the first of them."""

    name: str
    birth_date: str
    studies: int
    study_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MatchPage:
    """Some matches; `cursor` continues behind them and is None at the end."""

    matches: Sequence[Match]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class RowPage:
    """The rows of some matches; `cursor` continues behind them and is None at the end."""

    rows: Sequence[int]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """What is directly below a resource, with the Instance Number of an instance."""

    public_id: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class LocationPage:
    """Where some instances are; `cursor` continues behind them and is None at the end."""

    locations: Sequence[Location]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals. `size` in bytes, of all instances served.

    `split_studies`: Study Instance UIDs of several patients; `split_series`: Series Instance UIDs in several studies;
    `unidentified`: names and dates of birth under no Patient ID, counted up to 1000.
    """

    patients: int = 0
    studies: int = 0
    series: int = 0
    instances: int = 0
    packs: int = 0
    conflicts: int = 0
    size: int = 0
    split_studies: int = 0
    split_series: int = 0
    unidentified: int = 0


@dataclass(frozen=True, slots=True)
class Sender:
    """What came from one calling AE title (empty: by HTTP) at one address, since the index began."""

    calling_aet: str
    remote_host: str
    last_received: datetime
    packs: int
    instances: int


@dataclass(frozen=True, slots=True)
class InstanceScope:
    """Which instances: of a study, or of a series of it, or one. Any field may be left out; all given must hold."""

    study_uid: str | None = None
    series_uid: str | None = None
    sop_uids: tuple[str, ...] = field(default=())
    public_id: str | None = None
    """Of a patient, study, series or instance."""
