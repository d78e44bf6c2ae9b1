"""Palette Color Lookup Tables, plain and segmented: indices to colours (PS3.3 C.7.6.3.1.5, C.7.9.2)."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.native import Frame

_DESCRIPTORS: Final = (0x00281101, 0x00281102, 0x00281103)
_TABLES: Final = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED: Final = (0x00281221, 0x00281222, 0x00281223)
_PIXEL_REPRESENTATION: Final = 0x00280103


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
    """Return the palette of an image or of an item; raises `PixelError` naming what is missing or invalid."""
    signed = attributes.number(_PIXEL_REPRESENTATION) == 1
    channels, firsts = [], []
    for descriptor, table, segmented in zip(_DESCRIPTORS, _TABLES, _SEGMENTED, strict=True):
        entries, first, bits = _descriptor(attributes, descriptor, signed=signed)
        firsts.append(first)
        if segmented in attributes and table not in attributes:
            values = _Segments(_words(attributes, segmented, bits).tolist(), entries, bits, segmented).expanded()
        else:
            values = _plain(attributes, table, entries, bits)
        channels.append(values)
    if len(set(firsts)) > 1 or len({(len(channel), channel.dtype) for channel in channels}) > 1:
        raise PixelError("the Palette Color Lookup Tables (0028,1101) to (0028,1103) are not alike")
    return Palette(firsts[0], np.stack(channels, axis=1))


def _descriptor(attributes: Attributes, tag: int, *, signed: bool) -> tuple[int, int, int]:
    """Return how many entries there are, the first index, and the bits of an entry."""
    numbers = [int(number) & 0xFFFF for number in attributes.numbers(tag)]
    if len(numbers) != 3:
        raise PixelError(f"{_name(tag)} has {len(numbers)} values, not 3")
    entries, first, bits = numbers
    if bits not in (8, 16):
        raise PixelError(f"{_name(tag)} says {bits} bits, not 8 or 16")
    return entries or 1 << 16, first - (1 << 16) if signed and first & 0x8000 else first, bits


def _words(attributes: Attributes, tag: int, bits: int) -> NDArray[Any]:
    value = attributes.raw(tag)
    return np.frombuffer(value[: len(value) // (bits // 8) * (bits // 8)], f"<u{bits // 8}")


def _plain(attributes: Attributes, tag: int, entries: int, bits: int) -> NDArray[Any]:
    """Return a table. Entries of 8 bits may stand in a byte or in a word each."""
    length = attributes.length(tag)
    wide = length >= entries * 2
    values = _words(attributes, tag, 16 if wide else 8)[:entries]
    if len(values) < entries or (bits == 16 and not wide):
        raise PixelError(f"{_name(tag)} has {length} bytes for {entries} entries of {bits} bits")
    return values.astype(np.uint8) if bits == 8 and not (values > 255).any() else values


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
