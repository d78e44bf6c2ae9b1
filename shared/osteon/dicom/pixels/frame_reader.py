"""Any frame of an instance as it stands in the file, without reading those before it (PS3.5 section 8.1, A.4)."""

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from osteon.dicom.elements import element_head
from osteon.dicom.encoding import ITEM, SEQUENCE_END, UNDEFINED
from osteon.dicom.errors import BadDataSet
from osteon.dicom.frames import Frames, extended_offset_table, frame_runs, read_fragments
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.pixels.source import PixelSource
from osteon.dicom.reencode import swap_bytes

EXTENDED_OFFSETS: Final = 0x7FE00001


class FrameReader:
    """The frames of a source, as their codecs want them: bit streams, or native bytes in little endian.

    Single bits come packed from the first bit on.
    """

    def __init__(self, source: PixelSource, geometry: Geometry) -> None:
        assert source.pixels is not None
        self._source = source
        self._pixels = source.pixels
        self._geometry = geometry

    def read(self, number: int) -> bytes:
        """Return one frame, counted from 1; raises `PixelError` or `BadDataSet` when it is not there."""
        if not self._source.encapsulated:
            return self._native(number)
        position, length = self._by_table(number) or self._runs[number - 1]
        return self._joined(position, position + length)

    def _native(self, number: int) -> bytes:
        source, pixels, bits = self._source, self._pixels, self._geometry.frame_bits
        unit = 1 if source.little_endian_pixels else source.swap_unit(self._geometry.bits_allocated)
        needed, length = (bits * number + 7) // 8, pixels.end - pixels.start
        if length < needed:
            raise PixelError(f"({pixels.tag >> 16:04X},{pixels.tag & 0xFFFF:04X}) has {length} bytes, "
                             f"{number} frames have {needed}")  # fmt: skip
        # Whole words, so that those of the other byte order can be turned.
        first, last = bits * (number - 1) // 8 // unit * unit, -(-bits * number // 8 // unit) * unit
        data = swap_bytes(bytes(source.data[pixels.start + first : pixels.start + last]), unit)
        return _cut(data, bits * (number - 1) - first * 8, bits)

    def _by_table(self, number: int) -> tuple[int, int] | None:
        """Return (offset, length) of a frame's fragments by an offset table, where it agrees with them."""
        data, frames = self._source.data, self._geometry.frames
        _, _, start, length = element_head(data, self._pixels.start, self._source.encoding)
        base, entry = start + length, struct.Struct("<L")
        extended = self._source.find(EXTENDED_OFFSETS)
        if extended and extended.length == 8 * frames:
            start, length, entry = extended.start, extended.length, struct.Struct("<Q")
        if length != entry.size * frames or start + length > len(data) or entry.unpack_from(data, start)[0]:
            return None
        begin = base + entry.unpack_from(data, start + (number - 1) * entry.size)[0]
        end = base + entry.unpack_from(data, start + number * entry.size)[0] if number < frames else None
        try:
            behind = self._behind(begin, end)
        except BadDataSet:
            return None
        return (begin, behind - begin) if begin < behind and end in (None, behind) else None

    def _behind(self, position: int, end: int | None) -> int:
        """Return where fragments from `position` on end: at `end` or behind it, or where something else stands."""
        data = self._source.data
        while position != len(data) and (end is None or position < end):
            tag, _, start, length = element_head(data, position, self._source.encoding)
            if tag != ITEM or length == UNDEFINED:
                return position if tag == SEQUENCE_END else 0
            position = start + length
        return position

    @cached_property
    def _runs(self) -> Frames:
        """Where all frames are, found by a walk over the fragments."""
        source = self._source
        fragments = read_fragments(source.data, self._pixels.start, self._pixels.tag, source.encoding)
        extended: tuple[int, ...] = ()
        if (found := source.find(EXTENDED_OFFSETS)) and found.length != UNDEFINED:
            extended = extended_offset_table(source.data, found.start, found.length)
        runs, problem = frame_runs(source.data, fragments, self._geometry.frames, source.syntax, extended)
        if not runs:
            raise PixelError(f"(7FE0,0010): {problem}")
        return runs

    def _joined(self, position: int, end: int) -> bytes:
        """Return what the fragments from `position` to `end` hold."""
        if end - position > 2 * self._source.limits.frame_bytes:
            raise PixelError(f"a frame of {end - position} bytes is larger than the limit")
        data, parts = self._source.data, []
        while position < end:
            size = int.from_bytes(data[position + 4 : position + 8], "little")
            parts.append(bytes(data[position + 8 : position + 8 + size]))
            position += 8 + size
        return parts[0] if len(parts) == 1 else b"".join(parts)


def read_frames(source: PixelSource, geometry: Geometry) -> Iterator[bytes]:
    """Yield every frame as `FrameReader` does; raises `PixelError` when frames are missing."""
    reader = FrameReader(source, geometry)
    return map(reader.read, range(1, geometry.frames + 1))


def _cut(data: bytes, first_bit: int, bits: int) -> bytes:
    """Return `bits` bits from `first_bit` on, moved to the beginning."""
    skip, shift = divmod(first_bit, 8)
    size = (bits + 7) // 8
    if not shift:
        return data if not skip and len(data) == size else data[skip : skip + size]
    number = int.from_bytes(data[skip:], "little") >> shift & ((1 << bits) - 1)
    return number.to_bytes(size, "little")
