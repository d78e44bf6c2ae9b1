"""RLE Lossless (PS3.5 annex G): byte planes, the most significant first, each a segment of PackBits runs."""

import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import Geometry

_HEADER = struct.Struct("<16L")


def decode(data: bytes, geometry: Geometry) -> NDArray[np.uint8]:
    """Return the planes of one frame: (samples, bytes of a sample from the most significant, rows, columns)."""
    size, planes = geometry.bits_allocated // 8, geometry.samples * geometry.bits_allocated // 8
    if geometry.bits_allocated != geometry.word_bytes * 8:
        raise PixelError(f"Bits Allocated (0028,0100) is {geometry.bits_allocated}, RLE needs whole words")
    if len(data) < _HEADER.size:
        raise PixelError("the RLE header is cut off")
    count, *offsets = _HEADER.unpack_from(data)
    if count != planes:
        raise PixelError(f"{count} RLE segments where {planes} are expected")
    ends = [*offsets[1:count], len(data)]
    frame = np.empty((planes, geometry.pixels), np.uint8)
    for number, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        if not _HEADER.size <= start <= end <= len(data):
            raise PixelError(f"RLE segment {number} lies from {start} to {end} of {len(data)} bytes")
        # A bit stream can grow to 64 times its length at most, and segments are no longer than the frame.
        segment = imagecodecs.packbits_decode(data[start:end], out=geometry.pixels)
        if len(segment) < geometry.pixels:
            raise PixelError(f"RLE segment {number} has {len(segment)} of {geometry.pixels} bytes")
        frame[number] = np.frombuffer(segment, np.uint8, geometry.pixels)
    return frame.reshape(geometry.samples, size, geometry.rows, geometry.columns)


def encode(planes: NDArray[np.uint8]) -> bytes:
    """Encode (planes, rows, columns); each row on its own (G.3.1), segments of even length (G.4)."""
    segments = [_segment(plane) for plane in planes]
    offsets, position = [], _HEADER.size
    for segment in segments:
        offsets.append(position)
        position += len(segment)
    header = _HEADER.pack(len(segments), *offsets, *(0,) * (15 - len(offsets)))
    return b"".join((header, *segments))


def _segment(plane: NDArray[np.uint8]) -> bytes:
    # A copy, since the codec reads strides, which numpy leaves odd where an axis has one element.
    packed = b"".join(imagecodecs.packbits_encode(row) for row in plane.copy())
    return packed + b"\0" if len(packed) % 2 else packed
