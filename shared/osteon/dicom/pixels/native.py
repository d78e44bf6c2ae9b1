"""Native pixel data: bytes to arrays and back (PS3.5 section 8.1 and annex D).

A decoded frame is always an array of (rows, columns, samples), of the type that Bits Allocated and Pixel
Representation say; single bits become bytes of 0 and 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.encoding import Buffer
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import Geometry

Frame = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame and the photometric interpretation of its samples.

    Attributes:
        precision: bits of a sample in the bit stream; 0: words as they are.
        problem: how the bit stream differs from what the attributes say, where the frame can be shown nevertheless.
        faithful: every sample is from the bit stream, and none was cut off. Else what it lacks is 0.
    """

    frame: Frame
    photometric: str
    precision: int = 0
    problem: str = ""
    faithful: bool = True


def frame_type(geometry: Geometry) -> "np.dtype[Any]":
    """Return the type of one sample."""
    kind = "i" if geometry.signed and geometry.bits_allocated > 1 else "u"
    return np.dtype(f"<{'f' if geometry.floating else kind}{geometry.word_bytes}")


def from_native(data: Buffer, geometry: Geometry) -> Frame:
    """Return the frame in `data`, which has at least its bytes; it shares them where it can."""
    if geometry.subsampled:
        return _from_422(np.frombuffer(data, np.uint8, geometry.pixels * 2), geometry)
    if geometry.bits_allocated == geometry.word_bytes * 8:
        values = np.frombuffer(data, frame_type(geometry), geometry.pixels * geometry.samples)
    else:
        values = _unpacked(data, geometry)
    if geometry.planar and geometry.samples > 1:
        planes = values.reshape(geometry.samples, geometry.rows, geometry.columns)
        # Not as a view: codecs read strides, which numpy leaves odd where an axis has one element.
        return planes.transpose(1, 2, 0).copy()
    return values.reshape(geometry.rows, geometry.columns, geometry.samples)


def decode_uncompressed(data: Buffer, geometry: Geometry) -> Decoded:
    """Return the frame whose native bytes are `data`; what is missing of it is 0. Raises `PixelError` without any."""
    needed, problem = (geometry.frame_bits + 7) // 8, ""
    if len(data) < needed:
        problem = f"{len(data)} bytes where a frame has {needed}"
        if not data:
            raise PixelError(problem)
        data = bytes(data) + bytes(needed - len(data))
    frame = from_native(data, geometry)
    return Decoded(frame, untransformed(geometry.photometric), problem=problem, faithful=not problem)


def untransformed(photometric: str) -> str:
    """Return the colours of whole samples.

    Decoders of JPEG 2000 undo its transforms themselves; elsewhere their names are left over from there.
    """
    return {"YBR_FULL_422": "YBR_FULL", "YBR_RCT": "RGB", "YBR_ICT": "RGB"}.get(photometric, photometric)


def _unpacked(data: Buffer, geometry: Geometry) -> Frame:
    """Unpack words of an odd number of bits, packed from the lowest bit on, into whole words."""
    count, size = geometry.pixels * geometry.samples, geometry.bits_allocated
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * size, bitorder="little")
    if size == 1:
        return bits
    words = np.zeros((count, geometry.word_bytes * 8), np.uint8)
    words[:, :size] = bits.reshape(count, size)
    return np.packbits(words, bitorder="little").view(frame_type(geometry))


def _from_422(values: NDArray[np.uint8], geometry: Geometry) -> Frame:
    """Repeat the chrominance of each pair of pixels: Y1 Y2 CB CR (PS3.3 C.7.6.3.1.2)."""
    if geometry.columns % 2:
        raise PixelError(f"Columns (0028,0011) is {geometry.columns}, subsampled colours need an even number")
    groups = values.reshape(-1, 4)
    frame = np.empty((len(groups), 2, 3), np.uint8)
    frame[:, :, 0] = groups[:, :2]
    frame[:, :, 1:] = groups[:, None, 2:]
    return frame.reshape(geometry.rows, geometry.columns, 3)


def to_422(frame: Frame) -> bytes:
    """Return a frame that `from_native` has read with subsampled colours as it was."""
    groups = frame.reshape(-1, 2, 3)
    return np.concatenate((groups[:, :, 0], groups[:, 0, 1:]), axis=1).tobytes()


def to_native(frame: Frame, *, bits: bool) -> bytes:
    """Return the samples pixel by pixel, little endian; `bits`: eight in a byte."""
    if bits:
        return np.packbits(frame.ravel(), bitorder="little").tobytes()
    return np.ascontiguousarray(frame).astype(frame.dtype.newbyteorder("<"), copy=False).tobytes()


class BitRun:
    """Puts frames of single bits behind each other without padding between them."""

    def __init__(self) -> None:
        self._rest = np.empty(0, np.uint8)

    def add(self, frame: Frame) -> bytes:
        """Return the whole bytes that are full now."""
        bits = np.concatenate((self._rest, frame.ravel()))
        whole = len(bits) // 8 * 8
        self._rest = bits[whole:]
        return np.packbits(bits[:whole], bitorder="little").tobytes()

    def end(self) -> bytes:
        """Return the last byte, if one has begun."""
        return np.packbits(self._rest, bitorder="little").tobytes()


def as_container(values: Frame, geometry: Geometry, *, precision: int, signed: bool) -> Frame:
    """Turn what a decoder gave into the type of the frame, where the bit stream has a sign and the pixels none, or not.

    `precision` and `signed` are what the bit stream says of its samples.
    """
    wanted = frame_type(geometry)
    frame: Frame = values.astype(wanted, copy=False)
    if geometry.signed is not signed and precision < wanted.itemsize * 8:
        frame = np.left_shift(frame, wanted.itemsize * 8 - precision)
        frame >>= wanted.itemsize * 8 - precision
    return frame


def sign_extended(frame: Frame, geometry: Geometry) -> Frame:
    """Return signed values whose sign stands only in the highest bit stored with their sign in all bits above it.

    Where anything else is in these bits, as old overlays are, they stay (PS3.5 8.1.1).
    """
    stored = geometry.bits_stored
    if not geometry.signed or geometry.shift or stored >= frame.dtype.itemsize * 8:
        return frame
    half = 1 << stored - 1
    if frame.min() < 0 or not half <= frame.max() < 2 * half:
        return frame
    return stored_values(frame, geometry, shift=0)


def stored_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """Return the least and the greatest value of so many bits."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def stored_values(frame: Frame, geometry: Geometry, *, shift: int) -> Frame:
    """Return the values that the bits stored of each word say, without what else is in it (PS3.5 8.1.1).

    `shift`: bits below them.
    """
    allocated, stored = frame.dtype.itemsize * 8, geometry.bits_stored
    if geometry.floating or stored == allocated or geometry.bits_allocated == 1:
        return frame
    if geometry.signed:
        values: Frame = np.left_shift(frame, allocated - stored - shift)
        values >>= allocated - stored
    else:
        values = np.right_shift(frame, shift)
        values &= frame.dtype.type((1 << stored) - 1)
    return values


def clipped(frame: Frame, geometry: Geometry) -> Frame:
    """Return values within the bits stored: a lossy decoder with more bits may go beyond them, at edges."""
    values: Frame = np.clip(frame, *stored_range(geometry.bits_stored, signed=geometry.signed))
    return values
