"""Identifiers of C-FIND requests to other archives (PS3.4 C.4.1, K.6), adapted to their make."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from osteon.dicom.attribute_names import keyword_of, tag_of, vr_of_tag
from osteon.dicom.attributes import is_below
from osteon.dicom.json_values import json_values
from osteon.dicom.models import WORKLIST_FIND, Level, models_for
from osteon.errors import Invalid
from osteon.remotes.port import Manufacturer

_MAX_DEPTH: Final = 8
_NO_WILDCARD: Final[dict[Manufacturer, frozenset[str]]] = {
    Manufacturer.NO_WILDCARD_IN_DATES: frozenset({"DA"}),
    Manufacturer.VITREA: frozenset({"DA"}),
}
"""Make → VRs in which a lone `*` has to be left empty."""
_EXPECTED: Final[dict[Level, tuple[str, ...]]] = {
    Level.PATIENT: ("PatientID",),
    Level.STUDY: ("AccessionNumber", "PatientID", "StudyInstanceUID"),
    Level.SERIES: ("AccessionNumber", "PatientID", "SeriesInstanceUID", "StudyInstanceUID"),
    Level.IMAGE: ("AccessionNumber", "PatientID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"),
}
"""Keys without which an answer cannot be retrieved, nor searched at a lower level."""

Elements = dict[str, dict[str, Any]]
"""DICOM JSON."""


class BadQuery(Invalid):
    """A key cannot be sent; the message names it."""


@dataclass(frozen=True, slots=True)
class CFindQuery:
    """A C-FIND: its SOP class and its Identifier as DICOM JSON, tags ascending."""

    sop_class_uid: str
    identifier: Elements


def resource_query(
    level: Level, keys: Mapping[str, str], manufacturer: Manufacturer, *, normalize: bool = True
) -> CFindQuery:
    """Ask for patients, studies, series or instances. `normalize` leaves out keys of lower levels.

    Raises `UnknownAttribute`.
    """
    by_tag = {tag_of(name): text for name, text in keys.items()}
    if normalize:
        by_tag = {tag: text for tag, text in by_tag.items() if not is_below(keyword_of(tag), level)}
    universal = "*" if manufacturer is Manufacturer.GE else ""
    for keyword in _EXPECTED[level]:
        by_tag[tag_of(keyword)] = by_tag.get(tag_of(keyword)) or universal
    by_tag[tag_of("QueryRetrieveLevel")] = level.value
    identifier = {tag: _element(tag, text, manufacturer) for tag, text in sorted(by_tag.items())}
    return CFindQuery(models_for(level)[0].find, identifier)


def worklist_query(keys: Mapping[str, Any], manufacturer: Manufacturer) -> CFindQuery:
    """Ask for worklist items; sequences are arrays of one object. Raises `UnknownAttribute` and `BadQuery`."""
    return CFindQuery(WORKLIST_FIND, _items(keys, manufacturer, 0))


def _items(keys: Mapping[str, Any], manufacturer: Manufacturer, depth: int) -> Elements:
    if depth > _MAX_DEPTH:
        raise BadQuery(f"Query: sequences nested more than {_MAX_DEPTH} levels deep")
    found: Elements = {}
    for name, value in keys.items():
        tag = tag_of(name)
        if isinstance(value, list):
            if not all(isinstance(item, dict) for item in value):
                raise BadQuery(f"Query: {name[:80]}: expected an array of objects")
            found[tag] = {"vr": "SQ", "Value": [_items(item, manufacturer, depth + 1) for item in value]}
        elif isinstance(value, str):
            found[tag] = _element(tag, value, manufacturer)
        else:
            raise BadQuery(f"Query: {name[:80]}: expected text, or an array of objects")
    return dict(sorted(found.items()))


def _element(tag: str, text: str, manufacturer: Manufacturer) -> dict[str, Any]:
    vr = vr_of_tag(tag)
    if vr == "SQ":
        return {"vr": vr}
    if text == "*" and (manufacturer is Manufacturer.NO_UNIVERSAL_WILDCARD or vr in _NO_WILDCARD.get(manufacturer, ())):
        text = ""
    return {"vr": vr, "Value": json_values(vr, text)} if text else {"vr": vr}
