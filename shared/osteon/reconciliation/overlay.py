"""Which attributes may be corrected, and what a correction makes of one instance's header.

What was there before goes into the Original Attributes Sequence (0400,0561) of what leaves the archive, with who
changed it, when and why (PS3.3 C.12.1.1.9).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import validate_value

from osteon.contracts.reconciliation import Reconciliation
from osteon.dicom.attributes import element_text
from osteon.dicom.header.load import load_header
from osteon.errors import Invalid

CORRECTABLE: Final = (
    "AccessionNumber", "InstitutionName", "ReferringPhysicianName", "StudyDescription", "StudyDate", "StudyTime",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex",
    "OtherPatientNames", "PatientBirthName", "PatientAge", "PatientSize", "PatientWeight", "PatientAddress",
    "PatientMotherBirthName", "EthnicGroup", "Occupation", "PatientComments", "StudyID", "RequestingPhysician",
    "RequestedProcedureDescription", "AdmissionID",
)  # fmt: skip
"""Attributes of patients and studies: text that all instances of a study share. No UIDs: they are its identity."""

_ORIGINAL_ATTRIBUTES: Final = "04000561"
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_LONGEST_NOTE: Final = 64
"""Characters of LO."""


class BadCorrection(Invalid):
    """An attribute that cannot be corrected, or a value that it cannot have; the message names it."""


def check_replacements(replace: Mapping[str, Any]) -> dict[str, str]:
    """Return corrected attributes, keyword → DICOM text; raises `BadCorrection`."""
    if not replace:
        raise BadCorrection("Replace: no attribute is named")
    for keyword, value in replace.items():
        if keyword not in CORRECTABLE:
            raise BadCorrection(f"Replace: {keyword[:80]!r} cannot be reconciled; these can: {', '.join(CORRECTABLE)}")
        if not isinstance(value, str):
            raise BadCorrection(f"Replace: {keyword} must be text, not {type(value).__name__}")
        _check_value(keyword, value)
    return {keyword: value.strip() for keyword, value in replace.items()}


def _check_value(keyword: str, value: str) -> None:
    vr = _vr(keyword)
    if any(ord(character) < 32 and character not in "\r\n\f\t" for character in value) or "\\" in value:
        raise BadCorrection(f"Replace: {keyword} has a control character or a backslash")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            validate_value(vr, value.strip(), RAISE)
    except (ValueError, UserWarning) as error:
        raise BadCorrection(f"Replace: {keyword}: {error}") from None


def _vr(keyword: str) -> str:
    return dictionary_VR(_tag_number(keyword))


def _tag_number(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def _tag(keyword: str) -> str:
    return f"{_tag_number(keyword):08X}"


def corrected_elements(header_json: bytes, overlays: Sequence[Reconciliation]) -> dict[str, dict[str, Any]]:
    """Return the elements (DICOM JSON, by tag) that corrections change in an instance; empty when it says so already.

    `overlays` in the order in which they apply.
    """
    header = load_header(header_json)
    changed: dict[str, dict[str, Any]] = {}
    notes = []
    for overlay in overlays:
        before: dict[str, dict[str, Any]] = {}
        for keyword, text in overlay.replace.items():
            tag = _tag(keyword)
            element = changed.get(tag) or header.get(tag) or {"vr": _vr(keyword)}
            if element_text(element) != text or tag not in header:
                before[tag] = dict(element)
                changed[tag] = _element(keyword, text)
        if before:
            notes.append(_note(overlay, before))
    if changed:
        known = header.get(_ORIGINAL_ATTRIBUTES, {}).get("Value", [])
        changed[_ORIGINAL_ATTRIBUTES] = {"vr": "SQ", "Value": [*known, *notes]}
    return dict(sorted(changed.items()))


def _element(keyword: str, text: str) -> dict[str, Any]:
    vr = _vr(keyword)
    if not text:
        return {"vr": vr}
    if vr == "PN":
        return {"vr": vr, "Value": [dict(zip(_GROUPS, text.split("="), strict=False))]}
    return {"vr": vr, "Value": [text]}


def _note(overlay: Reconciliation, before: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return an item of Original Attributes Sequence."""
    source = f"{overlay.requester}: {overlay.reason}" if overlay.requester and overlay.reason else ""
    return {
        "04000550": {"vr": "SQ", "Value": [dict(sorted(before.items()))]},
        "04000562": {"vr": "DT", "Value": [f"{overlay.created_at:%Y%m%d%H%M%S}.{overlay.created_at:%f}+0000"]},
        "04000563": {"vr": "LO", "Value": ["Osteon"]},
        "04000564": _text_note(source or overlay.requester or overlay.reason),
        "04000565": {"vr": "CS", "Value": ["CORRECT"]},
    }


def _text_note(text: str) -> dict[str, Any]:
    shown = text.replace("\\", "/")[:_LONGEST_NOTE].strip()
    return {"vr": "LO", "Value": [shown]} if shown else {"vr": "LO"}
