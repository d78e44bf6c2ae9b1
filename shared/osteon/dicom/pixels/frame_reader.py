"""Any frame of an instance as it stands in the file, without reading those before it (PS3.5 section 8.1, A.4)."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from osteon.byte_caches import ByteCache
from osteon.dicom.encoding import ITEM_BYTES, UNDEFINED
from osteon.dicom.frames import ITEM_HEAD, OTHER_TABLE, FrameTable, assign_frames, extended_offset_table, read_fragments
from osteon.dicom.pixels.errors import NoSuchFrame, PixelError
from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.pixels.source import PixelSource
from osteon.dicom.reencode import swap_bytes

EXTENDED_OFFSETS: Final = 0x7FE00001
_MANY: Final = 256
"""Fragments from which on their walk takes longer than to keep it."""


class FrameTables:
    """Frame tables of the instances read last, by a name of their unchanging bytes: the walk over many fragments is
    not made for each frame. Those of few fragments are not kept.
    """

    def __init__(self, limit: int = 16 << 20) -> None:
        """Keep tables of at most `limit` bytes."""
        self._tables: ByteCache[str, FrameTable] = ByteCache(
            "frame_tables", limit, lambda name, table: len(name) + table.size
        )

    def get(self, name: str) -> FrameTable | None:
        """Return the table of an instance, if it is kept."""
        return self._tables.get(name)

    def keep(self, name: str, table: FrameTable | None) -> None:
        """Keep the table of an instance, if it has one that is worth it."""
        if table is not None and len(table.fragments.starts) >= _MANY:
            self._tables[name] = table


class StoredFrame(NamedTuple):
    """A frame as its codec wants it; `lacks` says how many bytes of it are missing, empty when none are."""

    data: bytes
    lacks: str = ""


class FrameReader:
    """The frames of a source, as their codecs want them: bit streams, or native bytes in little endian.

    Single bits come packed from the first bit on. What a native frame lacks at the end of the value is zero.

    Attributes:
        count: frames that are there, the last one perhaps not to its end; never more than Number of Frames says.
        problem: what is wrong with number or length of the frames; empty when nothing is.
    """

    def __init__(self, source: PixelSource, geometry: Geometry) -> None:
        """Find the frames; raises `PixelError` when there are no frames that can be located, or too many."""
        assert source.pixels is not None
        self._source = source
        self._pixels = source.pixels
        self._geometry = geometry
        self._table: FrameTable | None = None
        if source.encapsulated:
            table = self._table = frame_table(source, geometry.frames)
            self.count = table.count
            self.problem = table.problem if table.problem != OTHER_TABLE else ""
        else:
            length = self._pixels.end - self._pixels.start
            self.count, self.problem = geometry.frames_in(length), geometry.length_problem(length)
        if not self.count:
            raise PixelError(f"({self._pixels.tag >> 16:04X},{self._pixels.tag & 0xFFFF:04X}): {self.problem}")
        if self.count > source.limits.frames:
            raise PixelError(f"{self.count} frames are more than the limit of {source.limits.frames}")

    def require(self, number: int) -> None:
        """Raise `NoSuchFrame` for a frame that is not there."""
        if not 1 <= number <= self.count:
            reason = f", {self.problem}" if self.problem else ""
            raise NoSuchFrame(f"there is no frame {number}: the image has {self.count}{reason}")

    def read(self, number: int) -> StoredFrame:
        """Return one frame, counted from 1; raises `NoSuchFrame`, `PixelError`."""
        self.require(number)
        if self._table is None:
            return self._native(number)
        position, length = self._table.run(number)
        cut = self._table.fragments.cut and number == self.count
        return StoredFrame(self._joined(position, position + length), self.problem if cut else "")

    def _native(self, number: int) -> StoredFrame:
        source, pixels, bits = self._source, self._pixels, self._geometry.frame_bits
        unit = 1 if source.little_endian_pixels else source.swap_unit(self._geometry.bits_allocated)
        # Whole words, so that those of the other byte order can be turned.
        first, last = bits * (number - 1) // 8 // unit * unit, -(-bits * number // 8 // unit) * unit
        data = swap_bytes(bytes(source.data[pixels.start + first : min(pixels.start + last, pixels.end)]), unit)
        missing = (bits * number + 7) // 8 - first - len(data)
        if missing <= 0:
            return StoredFrame(_cut(data, bits * (number - 1) - first * 8, bits))
        data += bytes(missing)
        return StoredFrame(_cut(data, bits * (number - 1) - first * 8, bits), f"its last {missing} bytes are missing")

    def _joined(self, position: int, end: int) -> bytes:
        """Return what the fragments from `position` to `end` hold."""
        if end - position > 2 * self._source.limits.frame_bytes:
            raise PixelError(f"a frame of {end - position} bytes is larger than the limit")
        data, parts = self._source.data, []
        while position < end:
            if data[position : position + 4] != ITEM_BYTES:
                raise PixelError(f"expected a fragment at byte {position}")
            size = int.from_bytes(data[position + 4 : position + ITEM_HEAD], "little")
            parts.append(bytes(data[position + ITEM_HEAD : min(position + ITEM_HEAD + size, end)]))
            position += ITEM_HEAD + size
        return parts[0] if len(parts) == 1 else b"".join(parts)


def frame_table(source: PixelSource, frames: int) -> FrameTable:
    """Walk over the fragments of a source and assign them to frames; raises `BadDataSet`."""
    assert source.pixels is not None
    if source.frame_table is not None:
        return source.frame_table
    fragments = read_fragments(source.data, source.pixels.start, source.pixels.tag, source.encoding)
    extended: tuple[int, ...] = ()
    if (found := source.find(EXTENDED_OFFSETS)) and found.length != UNDEFINED:
        extended = extended_offset_table(source.data, found.start, found.length)
    source.frame_table = assign_frames(source.data, fragments, frames, source.syntax, extended)
    return source.frame_table


def read_frames(source: PixelSource, geometry: Geometry) -> Iterator[bytes]:
    """Yield every frame that Number of Frames promises; raises `PixelError` when one is missing or not complete."""
    reader = FrameReader(source, geometry)
    if reader.count < geometry.frames:
        raise PixelError(f"frames are missing: {reader.problem}")
    for number in range(1, geometry.frames + 1):
        frame = reader.read(number)
        if frame.lacks:
            raise PixelError(f"frame {number}: {frame.lacks}")
        yield frame.data


def _cut(data: bytes, first_bit: int, bits: int) -> bytes:
    """Return `bits` bits from `first_bit` on, moved to the beginning."""
    skip, shift = divmod(first_bit, 8)
    size = (bits + 7) // 8
    if not shift:
        return data if not skip and len(data) == size else data[skip : skip + size]
    number = int.from_bytes(data[skip:], "little") >> shift & ((1 << bits) - 1)
    return number.to_bytes(size, "little")
