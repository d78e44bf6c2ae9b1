"""RLE Lossless (PS3.5 annex G): byte planes, the most significant first, each a segment of PackBits runs."""

import struct
from typing import NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import Geometry

_HEADER = struct.Struct("<16L")
_REPEATED = 128
"""Control bytes above it are of a run of one byte, those below of literal bytes; itself it means nothing (G.3.1)."""


class Planes(NamedTuple):
    """The planes of one frame: (samples, bytes of a sample from the most significant, rows, columns).

    Attributes:
        problem: which segments are too long or too short.
        complete: none was too short; what they lack is 0.
    """

    planes: NDArray[np.uint8]
    problem: str = ""
    complete: bool = True


def decode(data: bytes, geometry: Geometry) -> Planes:
    """Decode one frame; raises `PixelError` when there are fewer segments than planes, or nothing is in them."""
    size, planes = geometry.bits_allocated // 8, geometry.samples * geometry.bits_allocated // 8
    if geometry.bits_allocated != geometry.word_bytes * 8:
        raise PixelError(f"Bits Allocated (0028,0100) is {geometry.bits_allocated}, RLE needs whole words")
    if len(data) < _HEADER.size:
        raise PixelError("the RLE header is cut off")
    count, *offsets = _HEADER.unpack_from(data)
    if not planes <= count <= len(offsets):
        raise PixelError(f"{count} RLE segments where {planes} are expected")
    ends = [*offsets[1:count], len(data)]
    frame = np.empty((planes, geometry.pixels), np.uint8)
    problems = [] if count == planes else [f"{count} RLE segments where {planes} are expected"]
    lengths = []
    for number, (start, end) in enumerate(zip(offsets[:planes], ends, strict=False)):
        if not _HEADER.size <= start <= end <= len(data):
            problems.append(f"RLE segment {number} lies from {start} to {end} of {len(data)} bytes")
        segment, problem = _decode_segment(data[max(start, _HEADER.size) : end], geometry.pixels)
        lengths.append(len(segment))
        if problem:
            problems.append(f"RLE segment {number} {problem}")
        frame[number, : len(segment)] = np.frombuffer(segment, np.uint8)
        frame[number, len(segment) :] = 0
    if not any(lengths):
        raise PixelError("; ".join(problems))
    shape = geometry.samples, size, geometry.rows, geometry.columns
    return Planes(frame.reshape(shape), "; ".join(problems), min(lengths) == geometry.pixels)


def _decode_segment(data: bytes, size: int) -> tuple[bytes, str]:
    """Return at most `size` bytes, and what is wrong when there are more or fewer."""
    try:
        segment = imagecodecs.packbits_decode(data, out=size)
    except RuntimeError:  # more than `size` bytes, or it ends within a run
        segment = b""
    if len(segment) == size:
        return bytes(segment), ""
    found = bytearray()
    position = 0
    while position + 1 < len(data) and len(found) < size:
        control = data[position]
        if control < _REPEATED:
            found += data[position + 1 : position + control + 2]
            position += control + 2
        else:
            found += data[position + 1 : position + 2] * (257 - control if control > _REPEATED else 0)
            position += 2 if control > _REPEATED else 1
    if len(found) >= size:
        return bytes(found[:size]), "is longer than its plane"
    return bytes(found), f"has {len(found)} of {size} bytes"


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
