"""The DICOM JSON Model (PS3.18 F.2) → the Native DICOM Model (PS3.19 A.1): data sets as XML, a document each.

Private elements carry their creator instead of the block that it reserves.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from osteon.dicom.attribute_names import keyword_of
from osteon.dicom.private_blocks import creators_of, is_creator, is_private

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
MAX_DEPTH: Final = 80
"""Sequences within one another: as many as the header reader reads; real data sets have less than ten."""

_HEAD: Final = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">\n'
GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
"""Of a name, as elements of XML."""

_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
_UNSAFE: Final = re.compile('[&<>"\r\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')


def to_xml(elements: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Write a data set as a document in UTF-8.

    Characters that XML has no way to write, control characters above all, come out as U+FFFD. Group lengths and
    sequences deeper than `MAX_DEPTH` are left out.
    """
    parts = [_HEAD]
    _write_data_set(elements, parts.append, 0)
    parts.append("</NativeDicomModel>\n")
    return "".join(parts).encode()


def _write_data_set(elements: Mapping[str, Mapping[str, Any]], write: Callable[[str], None], depth: int) -> None:
    creators = creators_of(elements) if any(map(is_private, elements)) else {}
    first = {(block[:4], creator): block for block, creator in reversed(creators.items())}
    for tag, element in elements.items():
        if tag[4:] == "0000" or (is_creator(tag) and tag[:4] + tag[6:] in creators):
            continue
        name, private = tag, ""
        if is_private(tag) and (creator := creators.get(tag[:6])):
            private = f' privateCreator="{_escaped(creator)}"'
            # A second block of the same creator can only be identified by its number.
            name = f"{tag[:4]}00{tag[6:]}" if first[tag[:4], creator] == tag[:6] else tag
        keyword = keyword_of(tag)
        known = f' keyword="{keyword}"' if keyword else ""
        write(f'<DicomAttribute{known} tag="{name}" vr="{element["vr"]}"{private}>')
        _write_value(element, write, depth)
        write("</DicomAttribute>\n")


def _write_value(element: Mapping[str, Any], write: Callable[[str], None], depth: int) -> None:
    if "BulkDataURI" in element:
        write(f'<BulkData uri="{_escaped(element["BulkDataURI"])}"/>')
    elif "InlineBinary" in element:
        write(f"<InlineBinary>{_escaped(element['InlineBinary'])}</InlineBinary>")
    elif element["vr"] == "SQ":
        for number, item in enumerate(element.get("Value", ()) if depth < MAX_DEPTH else (), 1):
            write(f'<Item number="{number}">\n')
            _write_data_set(item or {}, write, depth + 1)
            write("</Item>\n")
    else:
        _write_values(element, write)


def _write_values(element: Mapping[str, Any], write: Callable[[str], None]) -> None:
    for number, value in enumerate(element.get("Value", ()), 1):
        if element["vr"] == "PN":
            groups = "".join(_group(name, value[name]) for name in GROUPS if value and value.get(name))
            write(f'<PersonName number="{number}">{groups}</PersonName>')
        else:
            text = "" if value is None else _escaped(str(value))
            write(f'<Value number="{number}">{text}</Value>')


def _group(name: str, text: str) -> str:
    # More than five components are against PS3.5 6.2; what is behind the fifth stays with it.
    pairs = zip(COMPONENTS, text.split("^", len(COMPONENTS) - 1), strict=False)
    components = "".join(f"<{tag}>{_escaped(part)}</{tag}>" for tag, part in pairs if part)
    return f"<{name}>{components}</{name}>"


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda found: _ESCAPES.get(found[0], "\ufffd"), text)
