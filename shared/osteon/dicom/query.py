"""What a search asks: its level, query keys and the kinds of matching of PS3.4 C.2.2.2.

C-FIND identifiers, QIDO-RS parameters and `/tools/find` bodies are all turned into a `Search`; `osteon.index` alone
turns a `Search` into SQL.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from osteon.dicom.models import Level

LAST_UPDATE: Final = "LastUpdate"
"""What `Order` calls the time at which a patient, study or series last got an instance."""


@dataclass(frozen=True, slots=True)
class Single:
    """Single value matching (PS3.4 C.2.2.2.1). Person names compare without case and accents."""

    value: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """List of UID matching (PS3.4 C.2.2.2.2), and the lists that QIDO-RS and Orthanc allow for other keys."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Wild card matching (PS3.4 C.2.2.2.4): `*` is any run of characters, `?` one character."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    """Range matching of a date, time or number (PS3.4 C.2.2.2.5); bounds are inclusive, None is open."""

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class Empty:
    r"""Empty value matching (PS3.4 C.2.2.2.7): the attribute is absent or has no value."""


Matching = Single | OneOf | Wildcard | Range | Empty


@dataclass(frozen=True, slots=True)
class MatchingKey:
    """One matching key. Universal matching is the absence of a condition.

    `path` is the attribute's keyword, behind those of the sequences that hold it:
    `("PatientName",)`, `("RequestAttributesSequence", "ScheduledProcedureStepID")`.
    """

    path: tuple[str, ...]
    matching: Matching


@dataclass(frozen=True, slots=True)
class DateTimeRange:
    """Combined matching of a date key and a time key as one moment (PS3.4 C.2.2.2.5.3).

    Bounds are `YYYYMMDDHHMMSS.FFFFFF`, inclusive, None is open.
    """

    date: str
    time: str
    low: str | None
    high: str | None


class LabelsConstraint(StrEnum):
    """How many of some labels a resource must have."""

    ALL = "All"
    ANY = "Any"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Only resources with all or any of these labels, or with none of them."""

    labels: tuple[str, ...]
    constraint: LabelsConstraint = LabelsConstraint.ALL


@dataclass(frozen=True, slots=True)
class MetadataKey:
    """Only resources whose metadata with a code match; only with `Single`, `OneOf` and `Wildcard`."""

    code: int
    matching: Matching


@dataclass(frozen=True, slots=True)
class Order:
    """Sort by an attribute that the index holds, or by `LAST_UPDATE`. What has no value comes last, either way.

    With a `metadata` code by these metadata of users, and by no attribute.
    """

    keyword: str
    descending: bool = False
    metadata: int | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """All conditions must hold (AND). Conditions may be on the level searched and on any level above it."""

    level: Level
    conditions: tuple[MatchingKey | DateTimeRange, ...] = ()
    fuzzy: bool = False
    """Person names match word by word, in any order, by their beginning or by their sound."""
    case_sensitive: bool = False
    """Text compares with case, as DICOM's matching does for all but person names; Orthanc's REST does not."""
    one_per_uid: bool = False
    """Rows with one Study or Series Instance UID are one result, whatever patients their images name, as a unique key
    identifies one entity (PS3.4 C.2.2.1.1). Orthanc's REST knows one resource for each patient."""
    parents: tuple[str, ...] = ()
    """Only what is below one of the patients, studies or series (of one level) with these Orthanc identifiers."""
    labels: LabelFilter | None = None
    """Of the resources searched themselves, not of what is above or below them."""
    metadata: tuple[MetadataKey, ...] = ()
    """Likewise."""
    order: tuple[Order, ...] = ()
    """Ties and an empty order follow the order in which resources came in; before it Study Date, when that is given.
    Where the last order is descending, ties are in reverse: the last to come in is first."""
    limit: int = 100
    offset: int = 0
    cursor: str | None = None
    """Of the last page: continues behind it, at the same cost for every page. Needs an empty `order` and `offset` 0."""
