"""Data sets in the DICOM JSON Model (PS3.18 F.2) that strangers wrote: checked before anything relies on their form."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from osteon.dicom.attribute_names import vr_of_tag
from osteon.dicom.encoding import LONG_VRS, SHORT_VRS
from osteon.dicom.header.bulk import PIXEL_DATA
from osteon.dicom.vr import BINARY
from osteon.errors import Invalid

MAX_DEPTH: Final = 80
"""Sequences within one another: as many as the header reader reads."""
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_VRS: Final = frozenset(vr.decode() for vr in LONG_VRS | SHORT_VRS)
_MEMBERS: Final = ("Value", "InlineBinary", "BulkDataURI")
_CHARSET: Final = "00080005"
_UTF8: Final = {"vr": "CS", "Value": ["ISO_IR 192"]}

DataSet = dict[str, dict[str, Any]]
"""Tag in eight hexadecimal digits → element, tags ascending."""


class BadMetadata(Invalid):
    """A data set is not in the DICOM JSON Model; the message names the element."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Bulk data that a data set refers to. `pixels`: it is the data set's own pixel data."""

    uri: str
    pixels: bool


def validate_data_set(data_set: object, *, ascii_only: bool) -> DataSet:
    """Return a data set in order, with VRs, without groups 0000 and 0002 and group lengths; raises `BadMetadata`.

    JSON is UTF-8, so Specific Character Set (0008,0005) becomes ISO_IR 192 unless its text is `ascii_only`.
    """
    return _data_set(data_set, "", 0, ascii_only)


def _data_set(given: object, path: str, depth: int, ascii_only: bool) -> DataSet:
    if not isinstance(given, Mapping):
        raise BadMetadata(f"{path or 'data set'}: expected an object")
    if depth > MAX_DEPTH:
        raise BadMetadata(f"{path[:80]}…: sequences are nested more than {MAX_DEPTH} deep")
    found: DataSet = {}
    for name, element in given.items():
        if not _TAG.fullmatch(name):
            raise BadMetadata(f"{path}{name[:80]!r} is not a tag of eight hexadecimal digits")
        tag = name.upper()
        if tag[:4] in ("0000", "0002") or tag[4:] == "0000":
            continue
        if tag in found:
            raise BadMetadata(f"{path}{tag}: the element comes twice")
        found[tag] = _element(tag, element, path + tag, depth, ascii_only)
    if not ascii_only and (_CHARSET in found or not depth):
        found[_CHARSET] = _UTF8
    return {tag: found[tag] for tag in sorted(found)}


def _element(tag: str, given: object, path: str, depth: int, ascii_only: bool) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadMetadata(f"{path}: expected an object with vr and Value, InlineBinary or BulkDataURI")
    vr = given.get("vr") or vr_of_tag(tag)
    if vr not in _VRS:
        raise BadMetadata(f"{path}: vr {str(vr)[:20]!r} is not a value representation")
    if tag.startswith("FFFE") or (vr == "SQ" and int(tag, 16) in PIXEL_DATA):
        raise BadMetadata(f"{path}: an element of VR {vr} cannot have this tag")
    members = [name for name in _MEMBERS if given.get(name) is not None]
    if not members:
        return {"vr": vr}
    if len(members) > 1:
        raise BadMetadata(f"{path}: {' and '.join(members)} exclude one another")
    (name,) = members
    if name == "Value":
        return {"vr": vr, name: _values(vr, given[name], path, depth, ascii_only)}
    if vr == "SQ" or not isinstance(given[name], str) or not given[name]:
        raise BadMetadata(f"{path}: {name} of VR {vr}: expected text, and none for sequences")
    return {"vr": vr, name: given[name] if name == "BulkDataURI" else _base64(given[name], path)}


def _values(vr: str, values: object, path: str, depth: int, ascii_only: bool) -> list[Any]:
    if not isinstance(values, list):
        raise BadMetadata(f"{path}: Value: expected an array")
    if vr == "SQ":
        return [_data_set(i or {}, f"{path}[{n}].", depth + 1, ascii_only) for n, i in enumerate(values)]
    if vr in BINARY:
        raise BadMetadata(f"{path}: values of VR {vr} come as InlineBinary or BulkDataURI")
    for value in values:
        if vr == "PN" and isinstance(value, Mapping):
            fits = all(isinstance(text, str) for text in value.values())
        else:
            fits = value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
        if not fits:
            raise BadMetadata(f"{path}: {str(value)[:80]!r} is not a value of VR {vr}")
    return values


def _base64(text: str, path: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMetadata(f"{path}: InlineBinary is not base64: {error}") from None
    return text


def iter_references(data_set: Mapping[str, Mapping[str, Any]], pixel_data: frozenset[str]) -> Iterator[Reference]:
    """Yield what a checked data set refers to, in its order; `pixel_data` are the tags of pixel data."""
    for tag, element in data_set.items():
        if "BulkDataURI" in element:
            yield Reference(element["BulkDataURI"], tag in pixel_data)
        elif element["vr"] == "SQ":
            for item in element.get("Value", ()):
                yield from iter_references(item, frozenset())
