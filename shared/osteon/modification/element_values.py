"""Values of attributes as requests give them: text, arrays of items for sequences, `data:` URIs for binary values."""

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.datadict import private_dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from osteon.dicom.attribute_names import UnknownAttribute, describe, tag_of, vr_of_tag
from osteon.dicom.dataset_encoder import NUMBER_FORMATS, TEXT_VRS
from osteon.dicom.vr import BINARY
from osteon.modification.errors import BadModification

_DEEPEST: Final = 16
_DATA_URI: Final = "data:"
_SINGLE: Final = frozenset({"LT", "ST", "UT", "UR"})
"""VRs in which a backslash separates nothing."""


def make_element(tag: int, value: Any, *, vr: str = "", creator: str = "") -> DataElement:
    """Return an element; `vr` is what the data set gives it already, `creator` that of a private one.

    Raises `BadModification`.
    """
    return _element(tag, value, vr or _vr(tag, creator), 0)


def texts_of(value: Any) -> Iterator[str]:
    """Iterate over the text of a value, nested ones too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            for nested in item.values():
                yield from texts_of(nested)


def _element(tag: int, value: Any, vr: str, depth: int) -> DataElement:
    name = describe((f"{tag:08X}",))
    if vr == "SQ":
        return DataElement(tag, vr, _items(value, name, depth))
    if not isinstance(value, str):
        raise BadModification(f"{name}: expected text, got {type(value).__name__}")
    try:
        return DataElement(tag, vr, _converted(vr, value), validation_mode=IGNORE)
    except (ValueError, TypeError, OverflowError, UnknownAttribute, struct.error) as error:
        raise BadModification(f"{name}: {value[:80]!r} is not a value of VR {vr}: {error}") from None


def _items(value: Any, name: str, depth: int) -> Sequence:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadModification(f"{name}: expected an array of objects, one for each item")
    if depth >= _DEEPEST:
        raise BadModification(f"{name}: nested deeper than {_DEEPEST} sequences")
    return Sequence([_item(item, depth + 1) for item in value])


def _item(given: Mapping[str, Any], depth: int) -> Dataset:
    item = Dataset()
    for key, value in given.items():
        try:
            tag = int(tag_of(key), 16)
        except UnknownAttribute as error:
            raise BadModification(str(error)) from None
        item.add(_element(tag, value, _vr(tag, ""), depth))
    return item


def _vr(tag: int, creator: str) -> str:
    if tag >> 16 & 1:
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO"
        try:
            return private_dictionary_VR(tag, creator)[:2] if creator else "UN"
        except KeyError:
            return "UN"
    return vr_of_tag(f"{tag:08X}")


def _converted(vr: str, value: str) -> Any:
    if value.startswith(_DATA_URI) and vr not in TEXT_VRS:
        return _decoded(value)
    if vr in BINARY:
        content = value.encode()
        return content + bytes(len(content) % 2)
    if not value or vr in _SINGLE:
        return value or None
    parts: list[Any] = value.split("\\")
    if vr in NUMBER_FORMATS:
        parts = [float(part) if vr in ("FL", "FD") else int(part) for part in parts]
        struct.pack(f"<{len(parts)}{NUMBER_FORMATS[vr]}", *parts)
    elif vr == "AT":
        parts = [int(tag_of(part.strip()), 16) for part in parts]
    return parts if len(parts) > 1 else parts[0]


def _decoded(value: str) -> bytes:
    head, comma, content = value.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ValueError("expected data:<media type>;base64,<content>")
    try:
        decoded = base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    return decoded + bytes(len(decoded) % 2)
