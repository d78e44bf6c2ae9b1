"""The elements of an image and of the items in its sequences, looked up by tag and read on request (PS3.5 7.5)."""

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from osteon.dicom.elements import element_head, item_encoding, nested_encoding
from osteon.dicom.encoding import EXPLICIT_BIG, ITEM, ITEM_END, UNDEFINED, Buffer, Encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.reencode import UNITS, ElementSpan, iter_elements, swap_bytes
from osteon.dicom.vr import standard_vr, unambiguous_vr

SIGNED: Final = 0x00280103
_MOST_DIGITS: Final = 64
_T = TypeVar("_T")
_FORMATS: Final = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
    "OB": "B", "OW": "H", "OL": "I", "OV": "Q", "OF": "f", "OD": "d", "UN": "B",
}  # fmt: skip


def readable(read: Callable[..., _T], *arguments: object) -> _T | None:
    """Return what a function reads; None when that is damaged. For what improves a picture, but must not prevent it."""
    try:
        return read(*arguments)
    except (PixelError, BadDataSet):
        return None


class Attributes:
    """A data set or an item. Elements are found when the first is requested; values stay in the file till then.

    Numbers and bytes come in little endian always. A damaged value raises `BadDataSet` or `PixelError`,
    which names the tag.
    """

    def __init__(
        self, data: Buffer, elements: Iterable[ElementSpan], encoding: Encoding, *, signed: bool = False
    ) -> None:
        """Take elements of `data`; `signed` is the Pixel Representation of the data set around an item."""
        self._data = data
        self._elements = elements
        self._encoding = encoding
        self._signed = signed
        self._by_tag: dict[int, ElementSpan] | None = None
        self._sequences: dict[int, tuple[Attributes, ...]] = {}

    @property
    def _found(self) -> dict[int, ElementSpan]:
        if self._by_tag is None:
            self._by_tag = {found.tag: found for found in self._elements}
            if SIGNED in self._by_tag:
                self._signed = self.raw(SIGNED)[:1] == b"\1"
        return self._by_tag

    def __contains__(self, tag: int) -> bool:
        return tag in self._found

    def __iter__(self) -> Iterator[int]:
        """Iterate over the tags, in the order of the file."""
        return iter(self._found)

    def length(self, tag: int) -> int:
        """Return the bytes of a value; 0 when there is none."""
        found = self._found.get(tag)
        return found.end - found.start if found else 0

    def raw(self, tag: int, start: int = 0, stop: int | None = None) -> bytes:
        """Return a value's bytes from `start` to `stop`, which are where words begin; empty when there is none."""
        found = self._found.get(tag)
        if found is None:
            return b""
        end = found.end if stop is None else min(found.end, found.start + stop)
        value = bytes(self._data[found.start + start : end])
        return swap_bytes(value, UNITS.get(self._vr(found).encode(), 1)) if self._encoding is EXPLICIT_BIG else value

    def text(self, tag: int, default: str = "") -> str:
        """Return a value of characters, without padding; `default` when there is none. Not for other alphabets."""
        return self.raw(tag).decode("latin-1").strip(" \0") or default

    def texts(self, tag: int) -> list[str]:
        """Return the values of an element that may have several; empty when there is none."""
        text = self.text(tag)
        return [part.strip(" \0") for part in text.split("\\")] if text else []

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return the numbers of an element of VR US, SS, UL, SL, UV, SV, FL, FD, AT, DS, IS or OB to OV."""
        found = self._found.get(tag)
        if found is None:
            return ()
        vr = self._vr(found)
        if vr == "AT":
            return tuple(group << 16 | element for group, element in struct.iter_unpack("<HH", self._whole(tag, 4)))
        if vr in _FORMATS:
            size = struct.calcsize(_FORMATS[vr])
            return tuple(number for (number,) in struct.iter_unpack(f"<{_FORMATS[vr]}", self._whole(tag, size)))
        try:
            return tuple(float(part) if vr == "DS" else _whole_number(part) for part in self.texts(tag) if part)
        except ValueError:
            raise PixelError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not a number: {self.text(tag)[:40]!r}") from None

    def decimals(self, tag: int) -> tuple[float, ...]:
        """Return the numbers of an element of characters, each in its place: NaN for one that is none."""
        found = self._found.get(tag)
        return self.numbers(tag) if found and self._vr(found) in _FORMATS else tuple(map(_decimal, self.texts(tag)))

    def number(self, tag: int) -> float | None:
        """Return the first number of an element; None when there is none."""
        numbers = self.numbers(tag)
        return numbers[0] if numbers else None

    def items(self, tag: int) -> "tuple[Attributes, ...]":
        """Return the items of a sequence; empty when there is none."""
        if tag not in self._sequences:
            found = self._found.get(tag)
            self._sequences[tag] = tuple(self._items(found)) if found and self._vr(found) == "SQ" else ()
        return self._sequences[tag]

    def _whole(self, tag: int, size: int) -> bytes:
        value = self.raw(tag)
        return value[: len(value) // size * size]

    def _vr(self, found: ElementSpan) -> str:
        """Return the VR, that of PS3.6 where the element states none or UN."""
        if found.vr not in (b"", b"UN"):
            return found.vr.decode()
        vr = standard_vr(found.tag)
        if len(vr) > 2:
            return unambiguous_vr(found.tag, vr, signed=self._signed, lut_entries=0)
        return vr or ("SQ" if found.length == UNDEFINED else "UN")

    def _items(self, found: ElementSpan) -> "Iterator[Attributes]":
        encoding = nested_encoding(found.vr, self._encoding)
        position = found.start
        while position < found.end:
            tag, _, start, length = element_head(self._data, position, encoding)
            if tag != ITEM:
                return
            inner = item_encoding(self._data, start, encoding)
            stop = min(found.end, start + length)
            elements: Iterable[ElementSpan] = iter_elements(self._data, start, stop, inner)
            if length == UNDEFINED:
                elements = list(elements)
                stop = elements[-1].end if elements else start
                stop += 8 if element_head(self._data, stop, inner)[0] == ITEM_END else 0
            yield Attributes(self._data, elements, inner, signed=self._signed)
            position = stop


def _whole_number(text: str) -> int:
    """Return the number, which a float can hold."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(text)
    return int(text)


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
