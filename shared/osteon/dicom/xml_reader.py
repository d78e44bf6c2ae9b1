"""The Native DICOM Model (PS3.19 A.1) → the DICOM JSON Model (PS3.18 F.2), as a stream.

Private elements carry their creator and not always a block: one is chosen for them then. Documents come from strangers:
a document type, and with it every entity, is refused; depth, and what an open data set and one element may have, are
bounded. What is complete is held as JSON text, as elements of XML take twenty times their bytes.
"""

import re
from dataclasses import dataclass, field
from typing import IO, Any, Final
from xml.parsers import expat

import orjson

from osteon.dicom.attribute_names import vr_of_tag
from osteon.dicom.json_reader import MAX_ELEMENT_BYTES, MAX_OPEN_ELEMENTS, MAX_VALUES
from osteon.dicom.json_values import json_values
from osteon.dicom.private_blocks import Blocks, is_creator, is_private
from osteon.dicom.xml import COMPONENTS, GROUPS, MAX_DEPTH
from osteon.errors import Invalid

_CHUNK: Final = 64 << 10
_DIGITS: Final = 4
"""Of the number of a value that comes behind a gap."""
_LEVELS: Final = 2
"""XML elements of each level: an attribute and its item."""
_DEEPEST: Final = _LEVELS * (MAX_DEPTH + 1) + 5
"""XML elements within one another."""
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_VR: Final = re.compile(r"[A-Z]{2}", re.ASCII)


class BadXml(Invalid):
    """A document is not in the Native DICOM Model; the message says where."""


def xml_to_json(document: IO[bytes], target: IO[bytes], max_bytes: int) -> None:
    """Write the data set of a document as JSON of at most `max_bytes`; raises `BadXml`.

    Bulk data keeps its `uri` (or `uuid`) as `BulkDataURI`.
    """
    reader = _Reader(max_bytes)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        while chunk := document.read(_CHUNK):
            reader.unread += len(chunk)
            if reader.unread > MAX_ELEMENT_BYTES:
                raise BadXml(f"a tag is longer than {MAX_ELEMENT_BYTES} bytes")
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadXml(f"not well-formed XML: {error}") from None
    target.write(reader.json)


def _refuse_doctype(*_: object) -> None:
    raise BadXml("a document type declaration is not taken")


@dataclass(slots=True)
class _DataSet:
    """A data set whose end was not read yet: tag, private creator and JSON of each element."""

    path: str
    blocks: Blocks = field(default_factory=Blocks)
    elements: list[tuple[str, str, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class _Attribute:
    """A DicomAttribute whose end was not read yet; `json` has its values, or `member` its only one."""

    tag: str
    creator: str
    vr: str
    path: str
    json: bytearray = field(default_factory=bytearray)
    member: dict[str, str] = field(default_factory=dict)
    count: int = 0
    filled: bool = False
    first: str = ""
    size: int = 0

    @property
    def child(self) -> str:
        """The name that values of the VR have."""
        return {"SQ": "Item", "PN": "PersonName"}.get(self.vr, "Value")


class _Reader:
    """Handles the events of the parser."""

    def __init__(self, max_bytes: int) -> None:
        self.json = b""
        self.unread = 0
        """Bytes that the parser got since it last found something."""
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._depth = self._open = 0
        self._stack: list[_DataSet | _Attribute] = []
        self._within: list[str] = []
        """Names of XML elements within the attribute."""
        self._text: list[str] = []
        self._number = ""
        self._groups: dict[str, dict[str, str]] = {}

    def start(self, name: str, given: dict[str, str]) -> None:
        self.unread = 0
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadXml(f"sequences are nested more than {MAX_DEPTH} deep")
        name = name.rpartition(" ")[2]
        top = self._stack[-1] if self._stack else None
        if top is None:
            _expect("NativeDicomModel", name, "an element")
            self._stack.append(_DataSet(""))
        elif isinstance(top, _DataSet):
            _expect("DicomAttribute", name, top.path or "NativeDicomModel")
            self._stack.append(self._attribute(top, given))
        elif self._within:
            self._within.append(name)
            self._text.clear()
        else:
            self._value(top, name, given)

    def _attribute(self, parent: _DataSet, given: dict[str, str]) -> _Attribute:
        tag, creator = given.get("tag", "").upper(), given.get("privateCreator", "")
        if not _TAG.fullmatch(tag):
            where = parent.path or "NativeDicomModel"
            raise BadXml(f"{where}: tag={tag[:80]!r} is not a tag of eight hexadecimal digits")
        if creator and is_private(tag):
            parent.blocks.reserve(tag, creator)
        vr = given.get("vr") or vr_of_tag(tag)
        if not _VR.fullmatch(vr):
            raise BadXml(f"{parent.path}{tag}: vr={vr[:80]!r} is not a value representation")
        self._open += 1
        if self._open > MAX_OPEN_ELEMENTS:
            raise BadXml(f"{parent.path[:80]}: more than {MAX_OPEN_ELEMENTS} elements in a data set")
        return _Attribute(tag, creator, vr, parent.path + tag)

    def _value(self, attribute: _Attribute, name: str, given: dict[str, str]) -> None:
        if attribute.member:
            pass  # the first one counts
        elif name == "BulkData" and not attribute.count:
            attribute.member = {"BulkDataURI": given.get("uri") or given.get("uuid") or ""}
        elif name == "InlineBinary" and not attribute.count:
            attribute.member = {name: ""}
        else:
            _expect(attribute.child, name, attribute.path)
            if name == "Item":
                self._stack.append(_DataSet(f"{attribute.path}[{attribute.count}]."))
                return
        self._within.append(name)
        self._text.clear()
        self._number = given.get("number", "")
        self._groups = {}

    def text(self, text: str) -> None:
        self.unread = 0
        if self._within and isinstance(attribute := self._stack[-1], _Attribute):
            attribute.size += len(text)
            if attribute.size > MAX_ELEMENT_BYTES:
                raise BadXml(f"{attribute.path}: more than {MAX_ELEMENT_BYTES} characters: send it as bulk data")
            self._text.append(text)

    def end(self, _name: str) -> None:
        self._depth -= 1
        top = self._stack[-1]
        if isinstance(top, _DataSet):
            self._end_data_set(top)
        elif self._within:
            self._end_within(top)
        else:
            self._end_attribute(top)

    def _end_within(self, attribute: _Attribute) -> None:
        name, text = self._within.pop(), "".join(self._text)
        if self._within:
            if name in COMPONENTS and self._within[-1] in GROUPS:
                self._groups.setdefault(self._within[-1], {}).setdefault(name, text)
        elif name == "PersonName":
            groups = {group: _name(self._groups[group]) for group in GROUPS if group in self._groups}
            self._add(attribute, {group: text for group, text in groups.items() if text} or None)
        elif name == "Value":
            attribute.first = attribute.first if attribute.count else text
            found = json_values(attribute.vr, text)
            self._add(attribute, found[0] if len(found) == 1 else text)
        elif name == "InlineBinary" and name in attribute.member:
            attribute.member[name] = attribute.member[name] or "".join(text.split())
        self._text.clear()

    def _add(self, attribute: _Attribute, value: Any) -> None:
        """Add a value by its `number`: some writers leave out those that are empty."""
        number = self._number
        if number.isascii() and number.isdecimal() and len(number) <= _DIGITS:
            gap = max(0, int(number) - 1 - attribute.count)
            self._append(attribute, b"null," * gap, gap)
        attribute.filled = attribute.filled or value is not None
        try:
            self._append(attribute, orjson.dumps(value) + b",", 1)
        except orjson.JSONEncodeError as error:
            raise BadXml(f"{attribute.path}: a value cannot be stored: {error}") from None

    def _append(self, attribute: _Attribute, json: bytes, count: int) -> None:
        attribute.json += json
        attribute.count += count
        self._left -= len(json)
        if attribute.count > MAX_VALUES:
            raise BadXml(f"{attribute.path}: more than {MAX_VALUES} values or items")
        if self._left < 0:
            raise BadXml(f"the document has more than {self._max_bytes} bytes as JSON")

    def _end_attribute(self, attribute: _Attribute) -> None:
        self._stack.pop()
        parent = self._stack[-1]
        assert isinstance(parent, _DataSet)
        json = b'{"vr":"%b"' % attribute.vr.encode()
        if attribute.member:
            json += b"," + orjson.dumps(attribute.member)[1:-1]
        elif attribute.filled:
            json += b',"Value":[' + attribute.json[:-1] + b"]"
        if is_creator(attribute.tag) and not attribute.creator:
            parent.blocks.reserve(attribute.tag[:4] + attribute.tag[6:] + "00", attribute.first)
        parent.elements.append((attribute.tag, attribute.creator, json + b"}"))

    def _end_data_set(self, data_set: _DataSet) -> None:
        found: dict[str, bytes] = {}
        for tag, creator, json in data_set.elements:
            actual = data_set.blocks.place(tag, creator) if creator else tag
            if actual is None or actual in found:
                raise BadXml(f"{data_set.path}{tag}: the element comes twice, or its private creator has no block left")
            found[actual] = json
        self._open -= len(data_set.elements)
        creators = {tag: orjson.dumps(element) for tag, element in data_set.blocks.creators().items()}
        whole = {**creators, **found}
        json = b"{" + b",".join([b'"%b":%b' % (tag.encode(), whole[tag]) for tag in sorted(whole)]) + b"}"
        self._stack.pop()
        if not self._stack:
            self.json = json
            return
        attribute = self._stack[-1]
        assert isinstance(attribute, _Attribute)
        attribute.filled = True
        self._append(attribute, json + b",", 1)
        self._left += len(json)  # counted already, value by value


def _expect(expected: str, name: str, path: str) -> None:
    if name != expected:
        raise BadXml(f"{path}: expected {expected}, not {name[:80]!r}")


def _name(components: dict[str, str]) -> str:
    return "^".join(components.get(component, "") for component in COMPONENTS).rstrip("^")
