"""The Basic Application Level Confidentiality Profile and its options (PS3.15 annex E): Table E.1-1 as data.

The table is that of edition 2026c. Attributes that it got after 2022 have the option columns of dates, times and UIDs
only; where an option says nothing the action of the basic profile counts, so less is retained, never more.
"""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

from pydantic import BaseModel, ConfigDict


class ProfileOption(StrEnum):
    """The options that can be chosen, as requests name them."""

    RETAIN_UIDS = "RetainUIDs"
    RETAIN_DEVICE_IDENTITY = "RetainDeviceIdentity"
    RETAIN_INSTITUTION_IDENTITY = "RetainInstitutionIdentity"
    RETAIN_PATIENT_CHARACTERISTICS = "RetainPatientCharacteristics"
    RETAIN_FULL_DATES = "RetainFullDates"
    RETAIN_MODIFIED_DATES = "RetainModifiedDates"
    CLEAN_DESCRIPTORS = "CleanDescriptors"
    CLEAN_STRUCTURED_CONTENT = "CleanStructuredContent"
    CLEAN_GRAPHICS = "CleanGraphics"
    RETAIN_SAFE_PRIVATE = "RetainSafePrivate"


@dataclass(frozen=True, slots=True)
class ProfileCode:
    """A code of CID 7050, and the column of the table (none for private attributes, which have no rows)."""

    value: str
    meaning: str
    column: str = ""


BASIC_PROFILE: Final = ProfileCode("113100", "Basic Application Confidentiality Profile")
CODES: Final = {
    ProfileOption.RETAIN_UIDS: ProfileCode("113110", "Retain UIDs Option", "uids"),
    ProfileOption.RETAIN_DEVICE_IDENTITY: ProfileCode("113109", "Retain Device Identity Option", "device"),
    ProfileOption.RETAIN_INSTITUTION_IDENTITY: ProfileCode(
        "113112", "Retain Institution Identity Option", "institution"
    ),
    ProfileOption.RETAIN_PATIENT_CHARACTERISTICS: ProfileCode(
        "113108", "Retain Patient Characteristics Option", "patient"
    ),
    ProfileOption.RETAIN_FULL_DATES: ProfileCode(
        "113106", "Retain Longitudinal Temporal Information Full Dates Option", "full_dates"
    ),
    ProfileOption.RETAIN_MODIFIED_DATES: ProfileCode(
        "113107", "Retain Longitudinal Temporal Information Modified Dates Option", "modified_dates"
    ),
    ProfileOption.CLEAN_DESCRIPTORS: ProfileCode("113105", "Clean Descriptors Option", "descriptors"),
    ProfileOption.CLEAN_STRUCTURED_CONTENT: ProfileCode("113104", "Clean Structured Content Option", "structured"),
    ProfileOption.CLEAN_GRAPHICS: ProfileCode("113103", "Clean Graphics Option", "graphics"),
    ProfileOption.RETAIN_SAFE_PRIVATE: ProfileCode("113111", "Retain Safe Private Option"),
}


class ProfileAction(StrEnum):
    """What happens to an attribute (PS3.15 E.3.1)."""

    REMOVE = "X"
    EMPTY = "Z"
    REPLACE = "D"
    NEW_UID = "U"
    KEEP = "K"
    CLEAN = "C"


_BASIC: Final = {
    "X": ProfileAction.REMOVE,
    "Z": ProfileAction.EMPTY,
    "D": ProfileAction.REPLACE,
    "U": ProfileAction.NEW_UID,
    "X/Z": ProfileAction.EMPTY,
    "X/D": ProfileAction.REPLACE,
    "Z/D": ProfileAction.REPLACE,
    "X/Z/D": ProfileAction.REPLACE,
    "X/Z/U*": ProfileAction.NEW_UID,
}
"""Where the table leaves a choice to the IOD, that which every IOD allows: empty but for type 1, else a dummy."""


@dataclass(frozen=True, slots=True)
class AttributeActions:
    """What is done to an attribute; `otherwise` is for values that cannot be cleaned."""

    action: ProfileAction
    otherwise: ProfileAction


@cache
def profile_table() -> Mapping[str, Mapping[str, str]]:
    """Return the rows by tag: eight hexadecimal digits, with `x` for those that do not count."""
    file = resources.files("osteon.modification") / "confidentiality_profile.tsv"
    return {row["tag"]: row for row in csv.DictReader(file.read_text("ascii").splitlines(), delimiter="\t")}


def attribute_actions(options: Collection[ProfileOption]) -> dict[str, AttributeActions]:
    """Return what is done under these options, by tag as in the table. To keep goes before to clean."""
    columns = [CODES[option].column for option in options if CODES[option].column]
    found = {}
    for tag, row in profile_table().items():
        basic = _BASIC[row["basic"]]
        chosen = {row[column] for column in columns}
        action = ProfileAction.KEEP if "K" in chosen else ProfileAction.CLEAN if "C" in chosen else basic
        found[tag] = AttributeActions(action, basic)
    return found


class Deidentification(BaseModel):
    """How data sets are de-identified, as part of a job's parameters.

    Attributes:
        options: of the profile.
        private_creators: whose private attributes stay under `RetainSafePrivate`.
        keep_private: all private attributes stay.
        refuse_burned_in: instances whose Burned In Annotation (0028,0301) is YES are not made.
    """

    model_config = ConfigDict(frozen=True)

    options: tuple[ProfileOption, ...] = ()
    private_creators: tuple[str, ...] = ()
    keep_private: bool = False
    refuse_burned_in: bool = False
