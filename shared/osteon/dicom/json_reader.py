"""Data sets in the DICOM JSON Model (PS3.18 F.2) that strangers wrote, read as a stream and encoded as they come.

Parsed JSON takes up to sixty times its bytes. Here one element is parsed at a time, and a data set that is not complete
is held as the encoded bytes of its elements.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

import ijson

from osteon.dicom.attribute_names import vr_of_tag
from osteon.dicom.dataset_encoder import TEXT_VRS, DatasetEncoder
from osteon.dicom.encoded_data_set import (
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    AttributeGap,
    BadMetadata,
    BulkGap,
    EncodedDataSet,
    Segment,
    element_head,
)
from osteon.dicom.encoding import ITEM_BYTES, LONG_VRS, SHORT_VRS
from osteon.dicom.header.bulk import PIXEL_DATA
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.dicom.vr import BINARY

MAX_DEPTH: Final = 80
"""Sequences within one another: as many as the header reader reads."""
MAX_ELEMENT_BYTES: Final = 8 << 20
"""Of an element that is not a sequence, as JSON."""
MAX_VALUES: Final = 200_000
"""Values or items of one element."""
MAX_OPEN_ELEMENTS: Final = 100_000
"""Elements of a data set and of those around it."""
_CHUNK: Final = 16 << 10
_MAX_CHUNK: Final = 1 << 20
_MAX_MEMBERS: Final = 8
"""Of a value that is an object, as names are."""
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_VRS: Final = frozenset(vr.decode() for vr in LONG_VRS | SHORT_VRS)
_CHARSET: Final = "00080005"
_OWN_PIXELS: Final = "7FE00010"
_STARTS: Final = frozenset({"start_map", "start_array"})
_ENDS: Final = frozenset({"end_map", "end_array"})


@dataclass(frozen=True, slots=True)
class _CharsetGap:
    """Where Specific Character Set (0008,0005) belongs, and the element as given, if it was."""

    given: bytes = b""


_Segments = list[Segment | _CharsetGap]


@dataclass(slots=True)
class _Values:
    """The member `Value`: as values, and as a sequence, as far as it may be either."""

    plain: list[Any] = field(default_factory=list)
    items: _Segments = field(default_factory=list)
    only_plain: bool = False
    only_items: bool = False


class MetadataLimit(BadMetadata):
    """A data set is larger than one may be. What follows it is not read."""


class _Source:
    """A file that brings no more than one element may have without a call of `begin_element`.

    `next_chunk` is in bytes. It is small, as what is parsed ahead takes memory. It grows while a value does not end, as
    the parser begins such a value anew with each chunk.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.next_chunk = _CHUNK
        self.begin_element()

    def begin_element(self) -> None:
        self._left = MAX_ELEMENT_BYTES

    def read(self, size: int) -> bytes:
        if self._left < 0:
            raise MetadataLimit(f"an element is longer than {MAX_ELEMENT_BYTES} bytes: send it as bulk data")
        chunk = self._file.read(min(size, self.next_chunk))
        self.next_chunk *= 2
        self._left -= len(chunk)
        return chunk


class JsonReader:
    """Reads the data sets of a file. Each gets VRs and the order of tags, and loses groups 0000 and 0002.

    JSON is UTF-8, so Specific Character Set (0008,0005) becomes ISO_IR 192 unless all text of the data set is ASCII.
    """

    def __init__(self, file: IO[bytes], max_bytes: int, texts: frozenset[str], may_lack: frozenset[str]) -> None:
        """`max_bytes`: of one encoded data set. `texts`: tags whose first value is wanted.

        `may_lack`: tags that get a gap where they are absent from a data set whose pixel data is bulk data.
        """
        self._source = _Source(file)
        self._events = self._iterate()
        self._max_bytes = max_bytes
        self._wanted = texts
        self._may_lack = may_lack
        self._encoder = DatasetEncoder(EXPLICIT_VR_LITTLE_ENDIAN)
        self._utf8 = self._encoder.leaf(_CHARSET, {"vr": "CS", "Value": ["ISO_IR 192"]})
        self._depth = 0
        self._begin()

    def _begin(self) -> None:
        self._texts: dict[str, str] = {}
        self._ascii = True
        self._size = self._open = 0
        self._source.begin_element()

    def _iterate(self) -> Iterator[tuple[str, Any]]:
        for event in ijson.basic_parse(self._source, buf_size=_MAX_CHUNK, use_float=True):
            self._source.next_chunk = _CHUNK
            if event[0] in _STARTS:
                self._depth += 1
            elif event[0] in _ENDS:
                self._depth -= 1
            yield event

    def data_sets(self) -> Iterator[EncodedDataSet | BadMetadata]:
        """Yield the data sets of an array, or the only one, or the error of one that is invalid."""
        try:
            for kind, _ in self._events:
                if (kind, self._depth) == ("start_array", 1):
                    continue
                if kind not in _ENDS:
                    yield self._read(kind)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            reason = error.args[0] if error.args else ""
            reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            yield BadMetadata(f"the metadata cannot be read: not JSON: {reason.partition(chr(10))[0]}")
        except MetadataLimit as error:
            yield error

    def _read(self, kind: str) -> EncodedDataSet | BadMetadata:
        around = self._depth - (kind in _STARTS)
        self._begin()
        try:
            if kind != "start_map":
                raise BadMetadata("data set: expected an object")
            segments = self._data_set("", 0)
        except MetadataLimit:
            raise
        except BadMetadata as error:
            self._skip(around)
            return error
        resolved: list[Segment] = []
        for segment in segments:
            if isinstance(segment, _CharsetGap):
                _append(resolved, bytearray(segment.given if self._ascii else self._utf8))
            else:
                _append(resolved, segment)
        return EncodedDataSet(resolved, self._texts)

    def _data_set(self, path: str, depth: int, name: str | None = None) -> _Segments:
        """Read up to the end of an object; `name` is that of its first member when it was read already."""
        if depth > MAX_DEPTH:
            raise MetadataLimit(f"{path[:80]}…: sequences are nested more than {MAX_DEPTH} deep")
        found: dict[str, _Segments] = {}
        around = self._open
        while (name := self._member() if name is None else name) is not None:
            if not _TAG.fullmatch(name):
                raise BadMetadata(f"{path}{name[:80]!r} is not a tag of eight hexadecimal digits")
            tag, name = name.upper(), None
            element = self._element(tag, path + tag, depth)
            if tag[:4] in ("0000", "0002") or tag[4:] == "0000":
                continue
            if tag in found:
                raise BadMetadata(f"{path}{tag}: the element comes twice")
            found[tag] = element
            self._open += 1
            if self._open > MAX_OPEN_ELEMENTS:
                raise MetadataLimit(f"{path[:80]}: more than {MAX_OPEN_ELEMENTS} elements in a data set")
        self._open = around
        if not depth:
            found.setdefault(_CHARSET, [_CharsetGap()])
            if any(isinstance(segment, BulkGap) for segment in found.get(_OWN_PIXELS, ())):
                found.update({tag: [AttributeGap(tag)] for tag in self._may_lack - found.keys()})
        joined: _Segments = []
        for tag in sorted(found):
            for segment in found.pop(tag):
                _append(joined, segment)
        return joined

    def _member(self) -> str | None:
        """Return the name of an object's next member, None at its end."""
        kind, name = next(self._events)
        return None if kind == "end_map" else name

    def _element(self, tag: str, path: str, depth: int) -> _Segments:
        self._source.begin_element()
        if next(self._events)[0] != "start_map":
            raise BadMetadata(f"{path}: expected an object with vr and Value, InlineBinary or BulkDataURI")
        vr: Any = None
        given: dict[str, Any] = {}
        while (name := self._member()) is not None:
            if name == "vr":
                vr = self._scalar()
            elif name == "Value":
                given[name] = self._values(tag, vr, path, depth)
            elif name in ("InlineBinary", "BulkDataURI"):
                given[name] = self._scalar()
            else:
                self._scalar()
        vr = vr or vr_of_tag(tag)
        if not isinstance(vr, str) or vr not in _VRS:
            raise BadMetadata(f"{path}: vr {str(vr)[:20]!r} is not a value representation")
        if tag.startswith("FFFE") or (vr == "SQ" and int(tag, 16) in PIXEL_DATA):
            raise BadMetadata(f"{path}: an element of VR {vr} cannot have this tag")
        present = {name: value for name, value in given.items() if value is not None}
        if len(present) > 1:
            raise BadMetadata(f"{path}: {' and '.join(present)} exclude one another")
        segments = self._encode(tag, vr, present, path, depth)
        self._size += sum(len(s) for s in segments if isinstance(s, bytearray) and vr != "SQ")
        if self._size > self._max_bytes:
            raise MetadataLimit(f"{path}: the data set is longer than {self._max_bytes} bytes without its bulk data")
        return segments

    def _encode(self, tag: str, vr: str, given: dict[str, Any], path: str, depth: int) -> _Segments:
        values: _Values = given.get("Value") or _Values()
        if vr == "SQ":
            if "Value" not in given and given:
                raise BadMetadata(f"{path}: {next(iter(given))} of VR {vr}: expected text, and none for sequences")
            if values.only_plain:
                raise BadMetadata(f"{path}: expected an object for each item")
            head: _Segments = [bytearray(element_head(tag, vr) + UNDEFINED_LENGTH)]
            for segment in values.items:
                _append(head, segment)
            _append(head, bytearray(SEQUENCE_END))
            return head
        element: dict[str, Any] = {"vr": vr}
        if "Value" in given:
            self._check_plain(values, vr, path)
            element["Value"] = values.plain
        elif given:
            ((name, text),) = given.items()
            if not isinstance(text, str) or not text:
                raise BadMetadata(f"{path}: {name} of VR {vr}: expected text, and none for sequences")
            if name == "BulkDataURI":
                return [BulkGap(text, tag, vr, path, pixels=tag == _OWN_PIXELS and not depth)]
            element[name] = _check_base64(text, path)
        try:
            encoded = self._encoder.leaf(tag, element)
        except ValueError as error:
            raise BadMetadata(f"{path}: a value does not fit VR {vr}: {error}") from None
        if vr in TEXT_VRS and not encoded[8:].isascii():
            self._ascii = False
        if not depth and tag in self._wanted and values.plain and values.plain[0] is not None:
            text = str(values.plain[0]).strip()
            self._texts[tag] = text if text.isascii() else ""
        return [_CharsetGap(encoded)] if tag == _CHARSET else [bytearray(encoded)]

    def _check_plain(self, values: _Values, vr: str, path: str) -> None:
        if values.plain and vr in BINARY:
            raise BadMetadata(f"{path}: values of VR {vr} come as InlineBinary or BulkDataURI")
        wrong = next((value for value in values.plain if isinstance(value, dict) and vr != "PN"), None)
        if values.only_items or wrong is not None:
            raise BadMetadata(f"{path}: {str(wrong or 'an object')[:80]!r} is not a value of VR {vr}")

    def _values(self, tag: str, vr: object, path: str, depth: int) -> _Values | None:
        """Read `Value`. Where `vr` is still to come, the dictionary or the names of members say what objects are."""
        kind, _ = next(self._events)
        if kind == "null":
            return None
        if kind != "start_array":
            raise BadMetadata(f"{path}: Value: expected an array")
        expected = vr or vr_of_tag(tag)
        in_items = True if expected == "SQ" else None if not vr and expected == "UN" else False
        found = _Values()
        count = 0
        while (event := next(self._events))[0] != "end_array":
            if count >= MAX_VALUES:
                raise MetadataLimit(f"{path}: more than {MAX_VALUES} values or items")
            kind, value = event
            if kind == "start_map":
                self._object(found, in_items, f"{path}[{count}].", depth)
            elif kind in ("boolean", "start_array"):
                raise BadMetadata(f"{path}: {'an array' if value is None else value!r} is not a value of VR {vr}")
            else:
                found.plain.append(value)
                found.only_plain = found.only_plain or value is not None
                if in_items is not False:
                    self._add_item(found, [])
            count += 1
        return found

    def _object(self, found: _Values, in_items: bool | None, path: str, depth: int) -> None:
        if in_items:
            self._add_item(found, self._data_set(path, depth + 1))
            return
        name = self._member()
        if in_items is None and name is not None and _TAG.fullmatch(name):
            found.only_items = True
            self._add_item(found, self._data_set(path, depth + 1, name))
            return
        groups: dict[str, str] = {}
        while name is not None:
            text = self._scalar()
            if not isinstance(text, str) or len(groups) >= _MAX_MEMBERS:
                raise BadMetadata(f"{path}: {str(text)[:80]!r} is not a part of a person name")
            groups[name] = text
            name = self._member()
        found.plain.append(groups)
        if in_items is None:
            found.only_plain = found.only_plain or bool(groups)
            self._add_item(found, [])

    def _add_item(self, found: _Values, segments: _Segments) -> None:
        self._size += len(ITEM_END) * 2
        _append(found.items, bytearray(ITEM_BYTES + UNDEFINED_LENGTH))
        for segment in segments:
            _append(found.items, segment)
        _append(found.items, bytearray(ITEM_END))

    def _scalar(self) -> Any:
        """Return a value that is text or a number, an empty tuple for an object or an array, which is passed over."""
        kind, value = next(self._events)
        if kind not in _STARTS:
            return value
        self._skip(self._depth - 1)
        return ()

    def _skip(self, depth: int) -> None:
        """Pass over what is deeper than `depth`, within bounds."""
        self._source.begin_element()
        for _ in range(MAX_VALUES):
            if self._depth <= depth:
                return
            next(self._events)
        raise MetadataLimit(f"what cannot be read has more than {MAX_VALUES} values")


def _append(segments: "list[Any]", segment: Segment | _CharsetGap) -> None:
    """Add a segment; bytes that follow bytes are joined."""
    if segments and isinstance(segment, bytearray) and isinstance(segments[-1], bytearray):
        segments[-1] += segment
    else:
        segments.append(segment)


def _check_base64(text: str, path: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMetadata(f"{path}: InlineBinary is not base64: {error}") from None
    return text
