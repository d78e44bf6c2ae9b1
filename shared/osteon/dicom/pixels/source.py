"""A DICOM file as a transcoder sees it: its elements, the layout of its pixel data, and frame after frame."""

import mmap
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import IO, Final, Literal

from osteon.dicom.encoding import UNDEFINED, Buffer, Encoding, actual_encoding, declared_encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.frames import Frames, extended_offset_table, frame_runs, read_fragments
from osteon.dicom.part10 import FileMeta, read_part10
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    FRAMES,
    HIGH_BIT,
    PHOTOMETRIC,
    PLANAR,
    ROWS,
    SAMPLES,
    SIGNED,
    Geometry,
    Limits,
)
from osteon.dicom.recode import PIECE, Found, find, swapped
from osteon.dicom.uids import TransferSyntax, transfer_syntax

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXELS: Final = (0x7FE00008, 0x7FE00009)
EXTENDED_OFFSETS: Final = 0x7FE00001
EXTENDED_LENGTHS: Final = 0x7FE00002
_NUMBERS: Final = frozenset((ROWS, COLUMNS, SAMPLES, PLANAR, BITS_ALLOCATED, BITS_STORED, HIGH_BIT, SIGNED))
_TEXTS: Final = frozenset((PHOTOMETRIC, FRAMES))
_MOST_ELEMENTS: Final = 200_000


class Source:
    """An open DICOM file. Raises `BadPart10`, `UnknownTransferSyntax`, `BadDataSet` when it can not be read.

    Attributes:
        meta, syntax: of the file meta information.
        encoding: of the data set, as it is.
        elements: of the data set, in their order.
        values: of the attributes that lay out pixel data, by tag.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._open = ExitStack()
        self._limits = limits
        try:
            self._read(path)
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _read(self, path: Path) -> None:
        file = self._mapped(self._open.enter_context(path.open("rb")))
        self.meta: FileMeta = read_part10(file)
        self.syntax: TransferSyntax = transfer_syntax(self.meta.transfer_syntax_uid)
        self.data, start = file, self.meta.data_set_offset
        if self.syntax.deflated:
            self.data, start = self._inflated(file, start), 0
        self.encoding: Encoding = actual_encoding(self.data, start, declared_encoding(self.syntax))
        self.start = start
        self.elements: list[Found] = []
        self.values: dict[int, int | str] = {}
        self.pixels: Found | None = None
        for found in find(self.data, start, len(self.data), self.encoding):
            self.elements.append(found)
            self._notice(found)
            if len(self.elements) > _MOST_ELEMENTS:
                raise BadDataSet(f"more than {_MOST_ELEMENTS} elements", "", found.position)

    def _mapped(self, file: IO[bytes]) -> mmap.mmap:
        try:
            return self._open.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:
            raise BadDataSet("the file is empty", "", 0) from None

    def _inflated(self, data: Buffer, start: int) -> mmap.mmap:
        """Inflate the data set into a file that goes with this source."""
        file = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        pending, position = b"", start
        while not inflater.eof:
            if not pending:
                pending = bytes(data[position : position + PIECE])
                position += len(pending)
            try:
                found = inflater.decompress(pending, PIECE)
            except zlib.error as error:
                raise BadDataSet(f"can not be inflated: {error}", "", size) from None
            if not found and not pending:
                raise BadDataSet("the deflated stream ends early", "", size)
            size += file.write(found)
            if size > self._limits.inflated_bytes:
                raise BadDataSet(f"inflates to more than {self._limits.inflated_bytes} bytes", "", size)
            pending = inflater.unconsumed_tail
        file.flush()
        return self._mapped(file)

    def _notice(self, found: Found) -> None:
        if found.tag in _NUMBERS and 2 <= found.length <= 64:
            order: Literal["little", "big"] = "little" if self.encoding.little_endian else "big"
            self.values[found.tag] = int.from_bytes(self.data[found.start : found.start + 2], order)
        elif found.tag in _TEXTS and found.length <= 64:
            self.values[found.tag] = bytes(self.data[found.start : found.end]).decode("latin-1").strip(" \0")
        elif found.tag == PIXEL_DATA and found.end > found.start:
            self.pixels = found

    def value(self, tag: int) -> bytes:
        """Return the value of an element of the data set, at most 64 KiB; empty when there is none."""
        for found in self.elements:
            if found.tag == tag and found.length <= 0xFFFF:
                return bytes(self.data[found.start : found.end])
        return b""

    def geometry(self) -> Geometry:
        """Return the layout of the frames, checked against the limits; raises `PixelError`."""
        geometry = Geometry.from_values(self.values)
        geometry.check(self._limits)
        return geometry

    @property
    def encapsulated(self) -> bool:
        """Whether pixel data comes in fragments, whatever the transfer syntax says."""
        return self.pixels is not None and self.pixels.length == UNDEFINED

    def swap_unit(self, bits_allocated: int) -> int:
        """Return how many bytes of native pixel data change places in the other byte order (PS3.5 annex D)."""
        assert self.pixels is not None
        if self.pixels.vr == b"OB" or (bits_allocated == 8 and self.encoding.little_endian):
            return 1
        return max(2, bits_allocated // 8) if bits_allocated in (1, 8, 16, 32, 64) else 2

    def frames(self, geometry: Geometry) -> Iterator[bytes]:
        """Give each frame as its codec wants it: a bit stream, or native bytes in little endian.

        Single bits come packed from the first bit on. Raises `PixelError` when frames are missing.
        """
        return (self.frame(number, geometry) for number in range(1, geometry.frames + 1))

    def frame(self, number: int, geometry: Geometry) -> bytes:
        """Return one frame, counted from 1, as `frames` does."""
        if not self.encapsulated:
            return self._native_frame(number, geometry)
        position, length = self._runs[number - 1]
        return self._joined(position, position + length)

    @cached_property
    def _runs(self) -> Frames:
        assert self.pixels is not None
        fragments = read_fragments(self.data, self.pixels.start, PIXEL_DATA, self.encoding)
        extended: tuple[int, ...] = ()
        for found in self.elements:
            if found.tag == EXTENDED_OFFSETS and found.length != UNDEFINED:
                extended = extended_offset_table(self.data, found.start, found.length)
        runs, problem = frame_runs(self.data, fragments, self.geometry().frames, self.syntax, extended)
        if not runs:
            raise PixelError(f"(7FE0,0010): {problem}")
        return runs

    def _joined(self, position: int, end: int) -> bytes:
        """Return what the fragments from `position` to `end` hold."""
        if end - position > 2 * self._limits.frame_bytes:
            raise PixelError(f"a frame of {end - position} bytes is larger than the limit")
        parts = []
        while position < end:
            size = int.from_bytes(self.data[position + 4 : position + 8], "little")
            parts.append(bytes(self.data[position + 8 : position + 8 + size]))
            position += 8 + size
        return b"".join(parts)

    def _native_frame(self, number: int, geometry: Geometry) -> bytes:
        assert self.pixels is not None
        unit = 1 if self.encoding.little_endian else self.swap_unit(geometry.bits_allocated)
        bits = geometry.frame_bits
        needed, length = (bits * geometry.frames + 7) // 8, self.pixels.end - self.pixels.start
        if length < needed:
            raise PixelError(f"(7FE0,0010) has {length} bytes, {geometry.frames} frames have {needed}")
        # Whole words, so that those of the other byte order can be turned.
        first, last = bits * (number - 1) // 8 // unit * unit, -(-bits * number // 8 // unit) * unit
        data = swapped(bytes(self.data[self.pixels.start + first : self.pixels.start + last]), unit)
        return _cut(data, bits * (number - 1) - first * 8, bits)


def _cut(data: bytes, first_bit: int, bits: int) -> bytes:
    """Return `bits` bits from `first_bit` on, moved to the beginning."""
    skip, shift = divmod(first_bit, 8)
    if not shift:
        return data[skip : skip + (bits + 7) // 8]
    number = int.from_bytes(data[skip:], "little") >> shift & ((1 << bits) - 1)
    return number.to_bytes((bits + 7) // 8, "little")
