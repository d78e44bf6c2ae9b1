"""Headers (DICOM JSON Model) in the three forms of Orthanc's `/tags`: full, short and simplified.

Values are as they are in the file: numbers as text (`1.50`, `0008`), the character set that the file declares. Binary
values are null, unless their VR says that they are numbers; so are texts of more than 256 characters unless they are
requested.
"""

import base64
import struct
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from osteon.dicom.attribute_names import keyword_of
from osteon.dicom.attributes import element_text
from osteon.dicom.private_blocks import is_creator

_MAX_TEXT: Final = 256
_MAX_DEPTH: Final = 64
_UNKNOWN: Final = "Unknown Tag & Data"
_PRIVATE_CREATOR: Final = "PrivateCreator"
_BINARY: Final = frozenset({"OB", "OW", "UN"})
_NUMBERS: Final = {"OD": "d", "OF": "f", "OL": "L", "OV": "Q"}
"""VR of binary numbers → struct format character of one."""
_FLOATS: Final = frozenset({"FD", "FL", "OD", "OF"})

Header = Mapping[str, Any]


class TagFormat(StrEnum):
    """How tags are written: as names, as `gggg,eeee`, or as objects with both."""

    FULL = "full"
    SHORT = "short"
    SIMPLIFIED = "simplified"


def write_tags(header: Header, form: TagFormat, *, any_length: bool = False, depth: int = 0) -> dict[str, Any]:
    """Write a data set: tag or name → value, ascending by tag. Items more than 64 levels down are left out."""
    written: dict[str, Any] = {}
    for tag in sorted(header):
        name = keyword_of(tag) or (_PRIVATE_CREATOR if is_creator(tag) else _UNKNOWN)
        kind, value = _value(header[tag], form, any_length, depth)
        if form is TagFormat.SIMPLIFIED:
            # Several unknown tags cannot share one name.
            written[name if name not in (_UNKNOWN, _PRIVATE_CREATOR) else format_tag(tag)] = value
        elif form is TagFormat.SHORT:
            written[format_tag(tag)] = value
        else:
            written[format_tag(tag)] = {"Name": name, **_creator(header, tag), "Type": kind, "Value": value}
    return written


def write_texts(texts: Mapping[str, str], form: TagFormat, tag_of: Callable[[str], str]) -> dict[str, Any]:
    """Write attributes that are known as text by keyword."""
    if form is TagFormat.SIMPLIFIED:
        return dict(texts)
    by_tag = {tag_of(keyword): (keyword, text) for keyword, text in texts.items()}
    if form is TagFormat.SHORT:
        return {format_tag(tag): text for tag, (_, text) in sorted(by_tag.items())}
    return {
        format_tag(tag): {"Name": keyword, "Type": "String", "Value": text}
        for tag, (keyword, text) in sorted(by_tag.items())
    }


def format_tag(tag: str) -> str:
    """Write `00100010` as `0010,0010`, in lower case."""
    return f"{tag[:4]},{tag[4:]}".lower()


def _value(element: Header, form: TagFormat, any_length: bool, depth: int) -> tuple[str, Any]:
    vr = element["vr"]
    if vr == "SQ":
        items = element.get("Value", ()) if depth < _MAX_DEPTH else ()
        return "Sequence", [write_tags(item or {}, form, any_length=any_length, depth=depth + 1) for item in items]
    if "BulkDataURI" in element:
        return "Null" if vr in _BINARY else "TooLong", None
    if vr in _BINARY or ("InlineBinary" in element and vr not in _NUMBERS):
        return "Null", None
    text = _text(vr, element)
    if len(text) > _MAX_TEXT and not any_length:
        return "TooLong", None
    return "String", text


def _text(vr: str, element: Header) -> str:
    if vr == "AT":
        return "\\".join(format_tag(value) for value in element.get("Value", ()))
    values = element.get("Value", ())
    if "InlineBinary" in element:
        raw, code = base64.b64decode(element["InlineBinary"]), _NUMBERS[vr]
        values = struct.unpack(f"<{len(raw) // struct.calcsize('<' + code)}{code}", raw)
    elif vr not in _FLOATS:
        return element_text(element)
    # What is not finite comes as text.
    return "\\".join(f"{value:.17g}" if isinstance(value, float) else str(value).lower() for value in values)


def _creator(header: Header, tag: str) -> dict[str, str]:
    """Return the private creator of a private attribute (PS3.5 7.8.1)."""
    if int(tag[:4], 16) % 2 == 0 or tag[4:6] == "00":
        return {}
    creator = header.get(f"{tag[:4]}00{tag[4:6]}")
    return {"PrivateCreator": element_text(creator)} if creator else {}
