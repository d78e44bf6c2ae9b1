"""A DICOM file as a transcoder sees it: its elements, the layout of its pixel data, and frame after frame."""

import mmap
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Literal

from osteon.dicom.encoding import UNDEFINED, Buffer, Encoding, actual_encoding, declared_encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.frames import FrameTable, read_fragments
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
    PixelLimits,
)
from osteon.dicom.reencode import PIECE, ElementSpan, iter_elements
from osteon.dicom.uids import TransferSyntax, transfer_syntax

PIXEL_DATA: Final = 0x7FE00010
FLOAT_PIXELS: Final = (0x7FE00008, 0x7FE00009)
EXTENDED_LENGTHS: Final = 0x7FE00002
_NUMBERS: Final = frozenset((ROWS, COLUMNS, SAMPLES, PLANAR, BITS_ALLOCATED, BITS_STORED, HIGH_BIT, SIGNED))
_TEXTS: Final = frozenset((PHOTOMETRIC, FRAMES))
_PIXELS: Final = frozenset((PIXEL_DATA, *FLOAT_PIXELS))
_NOTED: Final = _NUMBERS | _TEXTS | _PIXELS
_MOST_ELEMENTS: Final = 200_000


class PixelSource:
    """An open DICOM file; with `to_pixels` what is behind its pixel data is left out.

    Raises `BadPart10`, `UnknownTransferSyntax`, `BadDataSet` when it cannot be read.

    Attributes:
        meta, syntax: of the file meta information.
        encoding: of the data set, as it is.
        elements: of the data set, in their order.
        values: of the attributes that lay out pixel data, by tag.
        pixels: the element with the pixels, of integers or floats; None when there are none.
        frame_table: where encapsulated frames are, once that was looked for.
    """

    def __init__(self, file: Path | Buffer, limits: PixelLimits, *, to_pixels: bool = False) -> None:
        """Open a file, or take the bytes of one."""
        self._open = ExitStack()
        self._to_pixels = to_pixels
        self.limits = limits
        self.frame_table: FrameTable | None = None
        try:
            self._read(file)
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> "PixelSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _read(self, source: Path | Buffer) -> None:
        if isinstance(source, Path):
            source = self._mapped(self._open.enter_context(source.open("rb")))
        file: Buffer = source
        self.meta: FileMeta = read_part10(file)
        self.syntax: TransferSyntax = transfer_syntax(self.meta.transfer_syntax_uid)
        self.data: Buffer = file
        start = self.meta.data_set_offset
        if self.syntax.deflated:
            self.data, start = self._inflated(file, start), 0
        self.encoding: Encoding = actual_encoding(self.data, start, declared_encoding(self.syntax))
        self.start = start
        self.elements: list[ElementSpan] = []
        self.values: dict[int, int | str] = {}
        self.pixels: ElementSpan | None = None
        for found in self._elements(start):
            self.elements.append(found)
            if found.tag in _NOTED:
                self._notice(found)
            if len(self.elements) > _MOST_ELEMENTS:
                raise BadDataSet(f"more than {_MOST_ELEMENTS} elements", "", found.position)

    def _elements(self, position: int) -> Iterator[ElementSpan]:
        """Iterate over the elements from `position` on; pixel data that is cut off or open ends where its bytes do."""
        data, encoding, found = self.data, self.encoding, None
        for found in iter_elements(data, position, len(data), encoding, last=PIXEL_DATA):
            if found.tag != PIXEL_DATA or self._to_pixels:
                yield found
        if found is None or found.tag != PIXEL_DATA or self._to_pixels:
            return
        end = min(found.start + found.length, len(data))
        if found.length == UNDEFINED:
            end = read_fragments(data, found.start, PIXEL_DATA, encoding).following
        yield found._replace(end=end)
        yield from iter_elements(data, end, len(data), encoding)

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
                raise BadDataSet(f"cannot be inflated: {error}", "", size) from None
            if not found and not pending:
                raise BadDataSet("the deflated stream ends early", "", size)
            size += file.write(found)
            if size > self.limits.inflated_bytes:
                raise BadDataSet(f"inflates to more than {self.limits.inflated_bytes} bytes", "", size)
            pending = inflater.unconsumed_tail
        file.flush()
        return self._mapped(file)

    def _notice(self, found: ElementSpan) -> None:
        if found.tag in _NUMBERS and 2 <= found.length <= 64:
            order: Literal["little", "big"] = "little" if self.encoding.little_endian else "big"
            self.values[found.tag] = int.from_bytes(self.data[found.start : found.start + 2], order)
        elif found.tag in _TEXTS and found.length <= 64:
            self.values[found.tag] = bytes(self.data[found.start : found.end]).decode("latin-1").strip(" \0")
        elif found.tag in _PIXELS and found.end > found.start:
            self.pixels = found

    def find(self, tag: int) -> ElementSpan | None:
        """Return an element of the data set."""
        return next((found for found in self.elements if found.tag == tag), None)

    def value(self, tag: int) -> bytes:
        """Return the value of an element of the data set, at most 64 KiB; empty when there is none."""
        found = self.find(tag)
        return bytes(self.data[found.start : found.end]) if found and found.length <= 0xFFFF else b""

    def geometry(self) -> Geometry:
        """Return the layout of the frames, checked against the limits; raises `PixelError`."""
        floating = self.pixels is not None and self.pixels.tag in FLOAT_PIXELS
        geometry = Geometry.from_values(self.values, floating=floating)
        geometry.check(self.limits)
        if self.pixels is None or self.encapsulated:
            return geometry
        if geometry.photometric == "YBR_PARTIAL_420":
            raise PixelError("Photometric Interpretation (0028,0004) YBR_PARTIAL_420 is for video only")
        return geometry.of_value(self.pixels.end - self.pixels.start)

    @property
    def encapsulated(self) -> bool:
        """Whether pixel data is in fragments, even against the transfer syntax."""
        return self.pixels is not None and self.pixels.length == UNDEFINED

    @property
    def little_endian_pixels(self) -> bool:
        """Byte order of native pixel data."""
        return self.encoding.little_endian and not self.syntax.big_endian_pixels

    def swap_unit(self, bits_allocated: int) -> int:
        """Return how many bytes of native pixel data change places in the other byte order (PS3.5 annex D)."""
        assert self.pixels is not None
        if self.pixels.tag in FLOAT_PIXELS:
            return bits_allocated // 8
        if self.syntax.big_endian_pixels:
            return 2
        if self.pixels.vr == b"OB" or (bits_allocated == 8 and self.encoding.little_endian):
            return 1
        return max(2, bits_allocated // 8) if bits_allocated in (1, 8, 16, 32, 64) else 2
