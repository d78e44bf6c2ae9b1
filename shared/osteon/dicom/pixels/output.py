"""Writes a DICOM file: bytes one after the other, deflated where the transfer syntax says so, and pixel data."""

import struct
import zlib
from array import array
from typing import BinaryIO

from osteon.dicom.encoding import EXPLICIT, ITEM, SEQUENCE_END, UNDEFINED
from osteon.dicom.pixels.source import PIXEL_DATA
from osteon.dicom.reencode import encode_head


class TranscodeOutput:
    """The file. `position` counts bytes before deflation from the file's first byte."""

    def __init__(self, file: BinaryIO, prefix: bytes, *, deflated: bool) -> None:
        self._file = file
        self._deflater = zlib.compressobj(6, wbits=-zlib.MAX_WBITS) if deflated else None
        self.position = file.write(prefix)

    def write(self, data: bytes) -> None:
        """Append bytes of the data set."""
        self._file.write(self._deflater.compress(data) if self._deflater else data)
        self.position += len(data)

    def patch(self, position: int, data: bytes) -> None:
        """Write over what was reserved; not in a deflated data set."""
        assert self._deflater is None
        self._file.seek(position)
        self._file.write(data)
        self._file.seek(0, 2)

    def close(self) -> int:
        """End the data set and return the file's length in bytes."""
        if self._deflater:
            tail = self._deflater.flush()
            # PS3.5 A.5: a file of odd length gets one zero byte.
            self._file.write(tail)
            if self._file.tell() % 2:
                self._file.write(b"\0")
        self._file.flush()
        return self._file.tell()


class EncapsulatedOutput:
    """Pixel data in fragments, one a frame, with an offset table (PS3.5 A.4).

    Where the fragments may be too long for the Basic Offset Table (`basic_limit` bytes), the Extended one is written
    and the Basic one stays empty (PS3.3 C.7.6.3.1.8). That is decided from the frames before compression.
    """

    def __init__(self, output: TranscodeOutput, frames: int, raw_bytes: int, basic_limit: int) -> None:
        self._output = output
        self._lengths: array[int] = array("Q")
        self._frames = frames
        self.extended = raw_bytes + raw_bytes // 8 + 4096 * frames >= basic_limit
        self._tables: list[int] = []

    def begin(self) -> None:
        """Write everything before the first frame, the tables' space included."""
        if self.extended:
            for tag in (0x7FE00001, 0x7FE00002):
                self._output.write(encode_head(tag, b"OV", 8 * self._frames, EXPLICIT))
                self._reserve(8 * self._frames)
        self._output.write(encode_head(PIXEL_DATA, b"OB", UNDEFINED, EXPLICIT))
        size = 0 if self.extended else 4 * self._frames
        self._output.write(_item(size))
        if size:
            self._reserve(size)

    def add(self, frame: bytes) -> None:
        """Write one frame, of even length."""
        self._output.write(_item(len(frame)))
        self._output.write(frame)
        self._lengths.append(len(frame))

    def end(self) -> None:
        """Write the delimiter, and the tables where space was left for them."""
        self._output.write(struct.pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0))
        offsets, position = array("Q"), 0
        for length in self._lengths:
            offsets.append(position)
            position += length + 8
        if self.extended:
            for place, table in zip(self._tables, (offsets, self._lengths), strict=True):
                self._output.patch(place, struct.pack(f"<{len(table)}Q", *table))
        else:
            self._output.patch(self._tables[0], struct.pack(f"<{len(offsets)}L", *offsets))

    @property
    def size(self) -> int:
        """Bytes of all frames so far."""
        return sum(self._lengths)

    def _reserve(self, size: int) -> None:
        self._tables.append(self._output.position)
        self._output.write(bytes(size))


def _item(length: int) -> bytes:
    return struct.pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, length)
