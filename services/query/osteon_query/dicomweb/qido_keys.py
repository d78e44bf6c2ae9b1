"""Matching keys of QIDO-RS: `{attributeID}={value}` → conditions, and what can be compared with headers."""

from typing import Final

from pydicom.datadict import dictionary_VM

from osteon.dicom.attribute_names import describe, tag_of, vr_of_tag
from osteon.dicom.attributes import is_below
from osteon.dicom.matching import MAX_VALUES, condition
from osteon.dicom.models import Level
from osteon.dicom.query import MatchingKey
from osteon_query.http.errors import BadParameter
from osteon_query.search.return_keys import belongs

_MULTIPLE: Final = frozenset({"AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"})
"""VRs of multiple value matching (PS3.4 C.2.2.2.8)."""


def conditions_of(
    path: tuple[str, ...], value: str, *, empty: bool, multiple: bool, max_values: int = MAX_VALUES
) -> list[MatchingKey]:
    r"""Return the conditions that a key makes, none for universal matching; raises `Invalid` naming the key.

    `empty` and `multiple` are the parameters `emptyvaluematching` and `multiplevaluematching`. Without the latter one
    value of a list is enough, as in a list of UIDs, and a comma separates codes too: viewers list modalities so.
    """
    vr = vr_of_tag(tag_of(path[-1]))
    if vr == "CS":
        # No code string has a comma.
        value = value.replace(",", "\\")
    values = [value]
    if multiple and vr in _MULTIPLE and "\\" in value and str(dictionary_VM(int(tag_of(path[-1]), 16))) != "1":
        if "*" in value or "?" in value:
            raise BadParameter(f"{describe(path)}: multiple value matching does not allow wildcards")
        values = [part for part in value.split("\\") if part.strip()]
    made = [condition(path, one, empty=empty, max_values=max_values) for one in values]
    return [one for one in made if one is not None]


def is_comparable(level: Level, path: tuple[str, ...]) -> bool:
    """Whether the header of one instance decides if a patient, study, series or instance matches a key."""
    return belongs(level, tag_of(path[0])) and not is_below(path[0], level)
