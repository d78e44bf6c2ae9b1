"""The Native DICOM Model (PS3.19 A.1) → the DICOM JSON Model (PS3.18 F.2).

Private elements carry their creator and not always a block: one is chosen for them then. Documents come from strangers:
a document type, and with it every entity, is refused, and length, depth and number of elements are bounded.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from osteon.dicom.attribute_names import vr_of_tag
from osteon.dicom.json_values import json_values
from osteon.dicom.private_blocks import Blocks, is_creator, is_private
from osteon.dicom.xml import COMPONENTS, GROUPS, MAX_DEPTH
from osteon.errors import Invalid

MAX_LENGTH: Final = 64 << 20
"""Bytes of a document at most."""
MAX_ELEMENTS: Final = 500_000
_DIGITS: Final = 4
"""Of the number of a value that comes behind a gap."""
_LEVELS: Final = 2
"""XML elements of each level: an attribute and its item."""
_DEEPEST: Final = _LEVELS * (MAX_DEPTH + 1) + 5
"""XML elements within one another."""
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_VR: Final = re.compile(r"[A-Z]{2}", re.ASCII)

DataSet = dict[str, dict[str, Any]]
"""Tag in eight hexadecimal digits → DICOM JSON element, tags ascending."""


class BadXml(Invalid):
    """A document is not in the Native DICOM Model; the message says where."""


def from_xml(document: bytes) -> DataSet:
    """Read a document; raises `BadXml`. Bulk data keeps its `uri` (or `uuid`) as `BulkDataURI`."""
    root = _parse(document)
    if root.tag != "NativeDicomModel":
        raise BadXml(f"expected an element NativeDicomModel, not {root.tag[:80]!r}")
    return _data_set(root, "")


def _parse(document: bytes) -> Element:
    if len(document) > MAX_LENGTH:
        raise BadXml(f"a document of {len(document)} bytes; {MAX_LENGTH} are read at most")
    tree = _Tree()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadXml(f"not well-formed XML: {error}") from None
    return tree.root()


def _refuse_doctype(*_: object) -> None:
    raise BadXml("a document type declaration is not taken")


class _Tree:
    """Builds the element tree within the bounds, names without their namespace."""

    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self._depth = 0
        self._left = MAX_ELEMENTS

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._left -= 1
        if self._depth > _DEEPEST:
            raise BadXml(f"sequences are nested more than {MAX_DEPTH} deep")
        if self._left < 0:
            raise BadXml(f"more than {MAX_ELEMENTS} elements")
        self._builder.start(name.rpartition(" ")[2], attributes)

    def end(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(name.rpartition(" ")[2])

    def data(self, text: str) -> None:
        self._builder.data(text)

    def root(self) -> Element:
        return self._builder.close()


def _data_set(parent: Element, path: str) -> DataSet:
    blocks = Blocks()
    given: list[tuple[str, str, Element]] = []
    for child in _children(parent, "DicomAttribute", path):
        tag, creator = child.get("tag", "").upper(), child.get("privateCreator", "")
        if not _TAG.fullmatch(tag):
            raise BadXml(f"{path or 'NativeDicomModel'}: tag={tag[:80]!r} is not a tag of eight hexadecimal digits")
        if creator and is_private(tag):
            blocks.reserve(tag, creator)
        elif is_creator(tag):
            blocks.reserve(tag[:4] + tag[6:] + "00", child.findtext("Value", ""))
        given.append((tag, creator, child))
    found: DataSet = {}
    for tag, creator, child in given:
        actual = blocks.place(tag, creator) if creator else tag
        if actual is None or actual in found:
            raise BadXml(f"{path}{tag}: the element comes twice, or its private creator has no block left")
        found[actual] = _element(actual, child, path + tag)
    whole = {**blocks.creators(), **found}
    return {tag: whole[tag] for tag in sorted(whole)}


def _children(parent: Element, name: str, path: str) -> Iterator[Element]:
    for child in parent:
        if child.tag != name:
            raise BadXml(f"{path or 'NativeDicomModel'}: expected {name}, not {child.tag[:80]!r}")
        yield child


def _element(tag: str, attribute: Element, path: str) -> dict[str, Any]:
    vr = attribute.get("vr") or vr_of_tag(tag)
    if not _VR.fullmatch(vr):
        raise BadXml(f"{path}: vr={vr[:80]!r} is not a value representation")
    first = attribute[0].tag if len(attribute) else ""
    if first == "BulkData":
        return {"vr": vr, "BulkDataURI": attribute[0].get("uri") or attribute[0].get("uuid") or ""}
    if first == "InlineBinary":
        return {"vr": vr, "InlineBinary": "".join((attribute[0].text or "").split())}
    if vr == "SQ":
        values: list[Any] = [
            _data_set(item, f"{path}[{number}].") for number, item in enumerate(_children(attribute, "Item", path))
        ]
    elif vr == "PN":
        values = _in_order(attribute, "PersonName", path, _name)
    else:
        values = _in_order(attribute, "Value", path, lambda value: _value(vr, value))
    return {"vr": vr, "Value": values} if any(value is not None for value in values) else {"vr": vr}


def _in_order(attribute: Element, name: str, path: str, read: Callable[[Element], Any]) -> list[Any]:
    """Return values by their `number`: some writers leave out those that are empty."""
    values: list[Any] = []
    for child in _children(attribute, name, path):
        number = child.get("number", "")
        if number.isascii() and number.isdecimal() and len(number) <= _DIGITS:
            values += [None] * (int(number) - 1 - len(values))
        values.append(read(child))
    return values


def _value(vr: str, value: Element) -> Any:
    found = json_values(vr, value.text or "")
    return found[0] if len(found) == 1 else value.text


def _name(name: Element) -> dict[str, str] | None:
    groups = {group: _text_of(name.find(group)) for group in GROUPS}
    return {group: text for group, text in groups.items() if text} or None


def _text_of(group: Element | None) -> str:
    if group is None:
        return ""
    return "^".join(group.findtext(component, "") for component in COMPONENTS).rstrip("^")
