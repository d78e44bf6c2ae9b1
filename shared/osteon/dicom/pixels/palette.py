"""Palette Color Lookup Tables, plain and segmented: indices to colours (PS3.3 C.7.6.3.1.5, C.7.9.2)."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.lut import read_descriptor, read_entries
from osteon.dicom.pixels.native import Frame, stored_range

_DESCRIPTORS: Final = (0x00281101, 0x00281102, 0x00281103)
_TABLES: Final = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED: Final = (0x00281221, 0x00281222, 0x00281223)
_PIXEL_REPRESENTATION: Final = 0x00280103
_BITS_STORED: Final = 0x00280101


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of indices from `first` on; those below have the first colour, those above the last.

    Attributes:
        colours: (entries, 3) of uint8 or uint16, of the full range of that type.
    """

    first: int
    colours: NDArray[Any]

    def apply(self, indices: Frame) -> Frame:
        """Return (rows, columns, 3) for (rows, columns, 1) or (rows, columns)."""
        flat = indices[:, :, 0] if indices.ndim == 3 else indices
        if self.first or flat.dtype.kind == "i" or flat.dtype.itemsize > 2:
            return self.colours[np.clip(flat.astype(np.int64) - self.first, 0, len(self.colours) - 1)]
        return self.colours.take(flat, axis=0, mode="clip")


def read_palette(attributes: Attributes) -> Palette:
    """Return the palette of an image or of an item; raises `PixelError` naming what is missing or invalid.

    Bits of an entry are what its data says. A channel without a descriptor has that of another one; one that is shorter
    than the others goes on with its last entry.
    """
    known = [tag for tag in _DESCRIPTORS if len(attributes.numbers(tag)) == 3]
    if not known:
        raise PixelError("no Palette Color Lookup Table Descriptor (0028,1101) to (0028,1103) has 3 values")
    signed = attributes.number(_PIXEL_REPRESENTATION) == 1
    low, high = stored_range(int(attributes.number(_BITS_STORED) or 16), signed=signed)
    channels, firsts, most = [], set(), 0
    for descriptor, table, segmented in zip(_DESCRIPTORS, _TABLES, _SEGMENTED, strict=True):
        described = descriptor if descriptor in known else known[0]
        count, first, bits = read_descriptor(attributes, described, low, high)
        most = max(most, bits)
        firsts.add(first)
        if segmented in attributes and table not in attributes:
            size = 8 if bits == 8 else 16
            values = _Segments(_words(attributes, segmented, size).tolist(), count, size, segmented).expanded()
        else:
            values = read_entries(attributes, table, count, bits)
        channels.append(values)
    if len(firsts) > 1:
        raise PixelError("the Palette Color Lookup Tables (0028,1101) to (0028,1103) are for other values each")
    return Palette(firsts.pop(), _joined(channels, most))


def _joined(channels: list[NDArray[Any]], bits: int) -> NDArray[Any]:
    """Return (entries, 3), of the full range of their type: of 8 bits where no entry has more, whatever `bits` says."""
    longest = max(map(len, channels))
    entries = np.stack([np.pad(each, (0, longest - len(each)), mode="edge") for each in channels], axis=1)
    if entries.dtype == np.uint8 or int(entries.max()) <= 0xFF:
        return entries.astype(np.uint8)
    if any(each.dtype == np.uint8 for each in channels):
        whole = [each.astype(np.uint16) * (257 if each.dtype == np.uint8 else 1) for each in channels]
        return _joined(whole, 16)
    if 8 < bits < 16 and int(entries.max()) < 1 << bits:
        return (entries.astype(np.uint32) * 0xFFFF // ((1 << bits) - 1)).astype(np.uint16)
    return entries


def _words(attributes: Attributes, tag: int, bits: int) -> NDArray[Any]:
    value = attributes.raw(tag)
    return np.frombuffer(value[: len(value) // (bits // 8) * (bits // 8)], f"<u{bits // 8}")


@dataclass(slots=True)
class _Segments:
    """Expands the segments of one table: discrete, linear and indirect (PS3.3 C.7.9.2.1 to C.7.9.2.3)."""

    words: list[int]
    entries: int
    bits: int
    tag: int
    out: list[int] = field(default_factory=list)

    def expanded(self) -> NDArray[Any]:
        """Return all entries of the table, segments expanded (PS3.3 C.7.9.2)."""
        self._expand(0, len(self.words), indirect=True)
        if len(self.out) < self.entries:
            raise PixelError(f"{_name(self.tag)} expands to {len(self.out)} of {self.entries} entries")
        return np.array(self.out[: self.entries], f"<u{self.bits // 8}")

    def _expand(self, position: int, segments: int, *, indirect: bool) -> None:
        """Expand a number of segments from `position` on; ends when the table is full."""
        words, out = self.words, self.out
        while segments and position + 2 <= len(words) and len(out) < self.entries:
            code, length = words[position : position + 2]
            position, segments = position + 2, segments - 1
            if code == 0:
                out += words[position : position + length]
                position += length
            elif code == 1 and out and position < len(words):
                begin, end = out[-1], words[position]
                out += (begin + round((end - begin) * step / length) for step in range(1, length + 1))
                position += 1
            elif code == 2 and indirect:
                offset, position = self._offset(position)
                self._expand(offset, length, indirect=False)
            else:
                raise PixelError(f"{_name(self.tag)} has a segment of type {code} that cannot be there")

    def _offset(self, position: int) -> tuple[int, int]:
        """Read an offset in bytes, the least significant part first; return it in words, and what follows."""
        count = 4 * 8 // self.bits
        parts = self.words[position : position + count]
        return sum(part << self.bits * n for n, part in enumerate(parts)) * 8 // self.bits, position + count


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
