"""Whether two data sets say the same, however each is encoded (PS3.5 sections 6 and 7, annex A).

Headers are compared as the header reader gives them: there VR encoding, byte order, group lengths, lengths of
sequences and items, padding and character sets make no difference already. Values that are left out of headers are for
the caller to compare, byte by byte.
"""

import struct
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from osteon.dicom.charset import character_set
from osteon.dicom.deflate import inflate_beginning
from osteon.dicom.elements import element_head
from osteon.dicom.encoding import IMPLICIT, SEQUENCE_END, UNDEFINED, Buffer, actual_encoding, declared_encoding
from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.header.interpreter import CHARACTER_SET
from osteon.dicom.header.model import Header
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.uids import IMPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from osteon.dicom.values import NUMBERS, json_member
from osteon.dicom.vr import BINARY

Elements = Mapping[str, Any]
"""A data set in the DICOM JSON Model: tag → element."""

_ABOUT_ENCODING: Final = frozenset({"00080001", "00080005", "7FE00001", "7FE00002", "7FE00003"})
"""Length to End, Specific Character Set, and where the frames of encapsulated pixel data are."""
PIXEL_LAYOUT: Final = frozenset({"00280004", "00280006"})
"""Photometric Interpretation and Planar Configuration, which differ between compressed and native pixel data."""
COMPRESSION_NOTES: Final = frozenset({"00082111"})
"""Derivation Description, in which some note that they compressed pixel data without loss."""
_INSIGNIFICANT_SPACES: Final = frozenset({"LO", "SH"})
_HARMLESS: Final = (
    "bytes outside of the default character repertoire",
    "elements are out of order",
    "explicit VR, unlike the transfer syntax",
    "implicit VR, unlike the transfer syntax",
    "the sequence delimiter behind the fragments is missing",
    "the delimiter of the item before it is missing",
)
"""Beginnings of problems that hide nothing of what the data set says."""
_READER_BULK: Final = 1 << 20


def is_comparable(header: Header) -> bool:
    """Whether a header has all that its data set says; else two that differ could look the same."""
    if header.unread or "\ufffd".encode() in header.json:
        return False
    return all(
        problem.reason.startswith(_HARMLESS) or problem.reason.endswith(" is not a number")
        for problem in header.problems
    )


def declared_character_set(beginning: Buffer, syntax: TransferSyntax) -> bytes:
    """Return the value of Specific Character Set, which headers do not have, from a data set's first bytes."""
    data = inflate_beginning(beginning, len(beginning)).data if syntax.deflated else beginning
    encoding, position = actual_encoding(data, 0, declared_encoding(syntax)), 0
    try:
        while True:
            tag, _, start, length = element_head(data, position, encoding)
            if tag >= CHARACTER_SET or length == UNDEFINED:
                return bytes(data[start : start + length]) if tag == CHARACTER_SET else b""
            position = start + length
    except TruncatedDataSet:
        return b""


class HeaderComparison:
    """Compares two headers, in DICOM JSON; `charsets` are the values of Specific Character Set of their data sets.

    `without` are tags that are not compared, `optional` those that one of the two may lack.

    Attributes:
        same: whether they say the same.
        bulk: paths of the values that both leave out, as in `Header.bulk`.
        unknown: paths of values of unknown VR that one leaves out, and the other has with its VR: to be compared, they
            must be in the header, by `with_value`.
    """

    def __init__(
        self,
        headers: tuple[Elements, Elements],
        charsets: tuple[bytes, bytes] = (b"", b""),
        *,
        without: frozenset[str] = frozenset(),
        optional: frozenset[str] = frozenset(),
    ) -> None:
        self.bulk: list[str] = []
        self.unknown: list[str] = []
        self._charsets = charsets
        self._without = _ABOUT_ENCODING | without
        self._optional = optional
        self.same = self._same_elements(*headers, "")

    def _same_elements(self, one: Elements, other: Elements, path: str) -> bool:
        tags = (one.keys() | other.keys()) - (_ABOUT_ENCODING if path else self._without)
        return all(self._same_element(one.get(tag), other.get(tag), path + tag) for tag in sorted(tags))

    def _same_element(self, one: Elements | None, other: Elements | None, path: str) -> bool:
        if one is None or other is None:
            return path in self._optional
        if left_out := [element for element in (one, other) if "BulkDataURI" in element]:
            return self._may_be_same(left_out, path)
        if "UN" in (one["vr"], other["vr"]) and one["vr"] != other["vr"]:
            if one["vr"] == "UN":
                return self._same_as_unknown(other, one, path, self._charsets[0])
            return self._same_as_unknown(one, other, path, self._charsets[1])
        if one["vr"] == other["vr"] == "SQ":
            return self._same_items(one, other, path)
        return bool(_content(one) == _content(other)) or (one["vr"] != other["vr"] and _same_bytes(one, other))

    def _may_be_same(self, left_out: Sequence[Elements], path: str) -> bool:
        """Note a value that at least one header leaves out; False when it cannot be the same."""
        if len(left_out) > 1:
            self.bulk.append(path)
            return True
        if left_out[0]["vr"] == "UN":
            self.unknown.append(path)
        return bool(left_out[0]["vr"] == "UN")

    def _same_items(self, one: Elements, other: Elements, path: str) -> bool:
        items, others = one.get("Value", []), other.get("Value", [])
        if len(items) != len(others):
            return False
        return all(
            self._same_elements(item or {}, another or {}, f"{path}/{number}/")
            for number, (item, another) in enumerate(zip(items, others, strict=True))
        )

    def _same_as_unknown(self, known: Elements, unknown: Elements, path: str, charset: bytes) -> bool:
        """Compare an element with one whose VR its data set does not say, as of private ones in implicit VR."""
        raw = _bytes(unknown) or b""
        if not raw:
            return not _content(known)
        if known["vr"] == "SQ":
            found, left_out = _read_sequence(path[-8:], raw, charset), len(self.bulk) + len(self.unknown)
            same = found is not None and self._same_items(known, found, path)
            return same and left_out == len(self.bulk) + len(self.unknown)
        vr, member, problem = json_member(known["vr"], raw, character_set(charset), little_endian=True)
        read = orjson.loads(b'{"vr":"%b"%b}' % (vr.encode(), b"," + member if member else b""))
        return not problem and bool(_content(read) == _content(known))


def with_value(elements: Elements, path: str, value: bytes) -> Elements:
    """Return a data set that has a value of unknown VR which its header left out; `path` as in `Header.bulk`."""
    tag, _, rest = path.partition("/")
    if not rest:
        return {**elements, tag: {"vr": "UN", "InlineBinary": value}}
    number, _, inner = rest.partition("/")
    items = list(elements[tag]["Value"])
    items[int(number)] = with_value(items[int(number)], inner, value)
    return {**elements, tag: {**elements[tag], "Value": items}}


def _content(element: Elements) -> Any:
    """Return what an element says: a list of values or bytes, empty for no value."""
    if "InlineBinary" in element:
        return _bytes(element)
    values = element.get("Value", [])
    if element["vr"] == "PN":
        values = [value and {name: group.rstrip("^ ") for name, group in value.items()} for value in values]
    if element["vr"] in _INSIGNIFICANT_SPACES:
        values = [value.strip(" ") if isinstance(value, str) else value for value in values]
    return values or b""


def _same_bytes(one: Elements, other: Elements) -> bool:
    """Compare elements with VRs that allow the same bytes: OB, OW and US of a lookup table, US and SS."""
    first, second = _bytes(one), _bytes(other)
    return first is not None and first == second


def _bytes(element: Elements) -> bytes | None:
    """Return a value as little endian bytes of even number; None when its VR is not of numbers or bytes."""
    vr, raw = element["vr"], None
    if vr in BINARY:
        inline = element.get("InlineBinary", b"")
        raw = inline if isinstance(inline, bytes) else b64decode(inline)
    elif vr in ("US", "SS"):  # the first value of a LUT Descriptor is never negative
        raw = b"".join(struct.pack("<H", value & 0xFFFF) for value in element.get("Value", []))
    elif vr in NUMBERS and all(isinstance(value, int | float) for value in element.get("Value", [])):
        raw = b"".join(struct.pack(f"<{NUMBERS[vr]}", value) for value in element.get("Value", []))
    return raw if raw is None else raw + b"\0" * (len(raw) % 2)


def _read_sequence(tag: str, raw: bytes, charset: bytes) -> Elements | None:
    """Read the value of a sequence in implicit VR little endian, which is how unknown values are encoded."""
    number = int(tag, 16)
    data_set = b"".join((
        IMPLICIT.item.pack(CHARACTER_SET >> 16, CHARACTER_SET & 0xFFFF, len(charset)), charset,
        IMPLICIT.item.pack(number >> 16, number & 0xFFFF, UNDEFINED), raw,
        IMPLICIT.item.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0),
    ))  # fmt: skip
    try:
        header = HeaderReader(bulk_limit=_READER_BULK, memo_limit=0).read(data_set, IMPLICIT_VR_LITTLE_ENDIAN)
    except BadDataSet:
        return None
    found: Elements = orjson.loads(header.json).get(tag, {})
    return found if is_comparable(header) and found.get("vr") == "SQ" else None
