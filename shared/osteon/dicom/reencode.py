"""Elements from one encoding into another: implicit and explicit VR, byte orders (PS3.5 section 7.1, annex A).

Values stay as they are, private ones, unknown ones and their character sets too; only byte order changes. Group lengths
go: they are retired and would be wrong.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from osteon.dicom.elements import element_head, item_encoding, nested_encoding, skip_undefined
from osteon.dicom.encoding import (
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    Encoding,
)
from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.vr import private_vr, standard_vr, unambiguous_vr

PIECE: Final = 1 << 20
"""Bytes of a value that are in memory at a time; a multiple of every unit."""
_DEEPEST: Final = 100
UNITS: Final = {
    b"US": 2, b"SS": 2, b"OW": 2, b"AT": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"OL": 4, b"OF": 4,
    b"FD": 8, b"OD": 8, b"OV": 8, b"SV": 8, b"UV": 8,
}  # fmt: skip
"""Bytes of a number of each VR whose byte order matters."""
_ARRAYS: Final = {2: "H", 4: "I", 8: "Q"}
_LUT_DESCRIPTOR: Final = 0x00283002


@dataclass(slots=True)
class ElementScope:
    """What earlier elements of a data set or an item say about later ones: private creators, signs, LUT entries."""

    signed: bool = False
    lut_entries: int = 0
    creators: dict[int, str] = field(default_factory=dict)

    def note(self, tag: int, value: bytes, *, little_endian: bool) -> None:
        """Remember a value that decides about other elements' VRs."""
        order: Literal["little", "big"] = "little" if little_endian else "big"
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            self.creators[tag & 0xFFFF0000 | (tag & 0xFF) << 8] = value.decode("latin-1").strip(" \0")
        elif tag == 0x00280103:
            self.signed = int.from_bytes(value[:2], order) == 1
        elif tag == _LUT_DESCRIPTOR:
            self.lut_entries = int.from_bytes(value[:2], order)

    def vr(self, tag: int) -> bytes:
        """Return the VR of an element that does not state it."""
        private = tag >> 16 & 1
        name = private_vr(tag, self.creators.get(tag & 0xFFFFFF00, "")) if private else standard_vr(tag) or "UN"
        if len(name) > 2:
            name = unambiguous_vr(tag, name, signed=self.signed, lut_entries=self.lut_entries)
        return name.encode()


class ElementSpan(NamedTuple):
    """An element as it stands: `vr` is empty when it states none; `end` is behind its value, delimiter included."""

    tag: int
    vr: bytes
    position: int
    start: int
    length: int
    end: int


def iter_elements(
    data: Buffer, position: int, stop: int, encoding: Encoding, *, last: int | None = None
) -> Iterator[ElementSpan]:
    """Iterate over the elements from `position` to `stop`, or to the delimiter of an item of undefined length.

    Ends with the tag `last`, whose value is not read: it ends at `stop` when it is too long or of undefined length.
    Raises `BadDataSet` and `TruncatedDataSet`.
    """
    while (found := _element_at(data, position, stop, encoding, last)) is not None:
        if found.end < 0:
            found = _with_end(data, found, stop, encoding)
        yield found
        position = stop if found.tag == last else found.end


def _element_at(data: Buffer, position: int, stop: int, encoding: Encoding, last: int | None) -> ElementSpan | None:
    """Return the element at `position`, its `end` -1 when its length is undefined; None where there are no more."""
    if position >= stop or (stop - position < 8 and not any(bytes(data[position:stop]))):
        return None
    tag, vr, start, length = element_head(data, position, encoding, stop)
    if tag == ITEM_END:
        return None
    if tag in (ITEM, SEQUENCE_END):
        raise BadDataSet("an item or a delimiter where an element is expected", f"{tag:08X}", position)
    end = start + length if length != UNDEFINED else -1
    if tag == last:
        end = stop if length == UNDEFINED else min(end, stop)
    if end > stop:
        raise TruncatedDataSet(f"a value of {length} bytes is longer than what holds it", f"{tag:08X}", start)
    return ElementSpan(tag, vr, position, start, length, end)


def _with_end(data: Buffer, found: ElementSpan, stop: int, encoding: Encoding) -> ElementSpan:
    """Return an element of undefined length with the end of its value."""
    end = skip_undefined(data, found.start, nested_encoding(found.vr, encoding), stop=stop)
    if end > stop:
        reason = f"a value of {end - found.start} bytes is longer than what holds it"
        raise TruncatedDataSet(reason, f"{found.tag:08X}", found.start)
    return found._replace(end=end)


def encode_head(tag: int, vr: bytes, length: int, target: Encoding) -> bytes:
    """Return the head of an element, before a value of `length` bytes."""
    group, element = tag >> 16, tag & 0xFFFF
    if not target.explicit:
        return target.item.pack(group, element, length)
    if vr in SHORT_VRS and length <= 0xFFFF:
        return target.head.pack(group, element, vr, length)
    long = vr if vr in LONG_VRS else b"UN"  # PS3.5 6.2.2: the length does not fit, or other readers do not know the VR
    return target.head.pack(group, element, long, 0) + target.long.pack(length)


def swap_bytes(value: bytes, unit: int) -> bytes:
    """Return a value whose numbers of `unit` bytes are in the other byte order; what is left over stays."""
    if unit == 1:
        return value
    whole = len(value) // unit * unit
    numbers = array(_ARRAYS[unit], value[:whole])
    numbers.byteswap()
    return numbers.tobytes() + value[whole:]


def encode_element(tag: int, vr: bytes, value: bytes, target: Encoding) -> bytes:
    """Encode an element whose value is in little endian."""
    unit = 1 if target.little_endian else UNITS.get(vr, 1)
    return encode_head(tag, vr, len(value), target) + swap_bytes(value, unit)


class Reencoder:
    """Encodes elements of `data` in `target`."""

    def __init__(self, data: Buffer, target: Encoding) -> None:
        self._data = data
        self._target = target

    def element(self, found: ElementSpan, encoding: Encoding, scope: ElementScope, depth: int = 0) -> Iterator[bytes]:
        """Give an element in pieces; nothing for a group length. `scope` takes notice of it."""
        if found.tag & 0xFFFF == 0:
            return
        if found.length <= 64:
            value = bytes(self._data[found.start : found.end])
            scope.note(found.tag, value, little_endian=encoding.little_endian)
        if encoding is self._target:
            yield from self._pieces(found.position, found.end, 1)
            return
        vr = found.vr or scope.vr(found.tag)
        if _is_sequence(found, vr):
            yield self._sequence(found, found.end, encoding, scope, depth)[0]
        elif vr == b"UN":
            # Unknown values are in implicit VR little endian wherever they stand.
            yield encode_head(found.tag, b"UN", found.length, self._target)
            yield from self._pieces(found.start, found.end, 1)
        else:
            unit = UNITS.get(vr, 1) if encoding.little_endian is not self._target.little_endian else 1
            yield encode_head(found.tag, vr, found.end - found.start, self._target)
            yield from self._pieces(found.start, found.end, unit)

    def _pieces(self, start: int, end: int, unit: int) -> Iterator[bytes]:
        for position in range(start, end, PIECE):
            yield swap_bytes(bytes(self._data[position : min(end, position + PIECE)]), unit)

    def _sequence(
        self, found: ElementSpan, stop: int, encoding: Encoding, scope: ElementScope, depth: int
    ) -> tuple[bytes, int]:
        """Return a sequence, and where it ends, which is at `stop` at most."""
        if depth > _DEEPEST:
            raise BadDataSet(f"nested deeper than {_DEEPEST} sequences", f"{found.tag:08X}", found.position)
        body, position = bytearray(), found.start
        encoding = nested_encoding(found.vr, encoding)
        while position < stop:
            tag, _, start, length = element_head(self._data, position, encoding, stop)
            if tag == SEQUENCE_END:
                position = start
                break
            if tag != ITEM:
                raise BadDataSet("expected an item or the sequence's end", f"{tag:08X}", position)
            end = stop if length == UNDEFINED else start + length
            if end > stop:
                raise TruncatedDataSet("the sequence ends within the item", f"{tag:08X}", start)
            inner = item_encoding(self._data, start, encoding, end)
            item, position = self._item(start, end, inner, scope.signed, depth)
            if length == UNDEFINED:
                body += self._mark(ITEM, UNDEFINED) + item + self._mark(ITEM_END, 0)
                position += 8
            else:
                body += self._mark(ITEM, len(item)) + item
                position = end
        if found.length == UNDEFINED:
            return encode_head(found.tag, b"SQ", UNDEFINED, self._target) + body + self._mark(SEQUENCE_END, 0), position
        return encode_head(found.tag, b"SQ", len(body), self._target) + body, position

    def _item(self, start: int, stop: int, encoding: Encoding, signed: bool, depth: int) -> tuple[bytes, int]:
        """Return an item's elements, and where they end.

        Sequences in it are walked once, whatever their depth: their ends are known when they have been encoded.
        """
        scope, body, position = ElementScope(signed), bytearray(), start
        while (found := _element_at(self._data, position, stop, encoding, None)) is not None:
            vr = found.vr or scope.vr(found.tag)
            if found.end < 0 and encoding is not self._target and _is_sequence(found, vr):
                piece, position = self._sequence(found, stop, encoding, scope, depth + 1)
                body += piece
                continue
            if found.end < 0:
                found = _with_end(self._data, found, stop, encoding)
            for piece in self.element(found, encoding, scope, depth + 1):
                body += piece
            position = found.end
        return bytes(body), position

    def _mark(self, tag: int, length: int) -> bytes:
        return self._target.item.pack(tag >> 16, tag & 0xFFFF, length)


def _is_sequence(found: ElementSpan, vr: bytes) -> bool:
    """Whether a value's items are encoded anew; those of UN are in implicit VR little endian wherever they stand."""
    return vr == b"SQ" or (found.length == UNDEFINED and not (vr == b"UN" and found.vr))
