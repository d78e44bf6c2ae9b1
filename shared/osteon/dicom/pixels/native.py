"""Native pixel data: bytes to arrays and back (PS3.5 section 8.1 and annex D).

A decoded frame is always an array of (rows, columns, samples), of the type that Bits Allocated and Pixel
Representation say; single bits become bytes of 0 and 1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.geometry import Geometry

Frame = NDArray[Any]


def frame_type(geometry: Geometry) -> "np.dtype[Any]":
    """Return the type of one sample."""
    if geometry.floating:
        return np.dtype(f"<f{geometry.bits_allocated // 8}")
    kind = "i" if geometry.signed and geometry.bits_allocated > 1 else "u"
    return np.dtype(f"<{kind}{max(1, geometry.bits_allocated // 8)}")


def from_native(data: bytes, geometry: Geometry, *, first_bit: int = 0) -> Frame:
    """Return the frame in `data`, which has at least its bytes; single bits begin at `first_bit` (0 to 7)."""
    if geometry.bits_allocated == 1:
        count = geometry.pixels * geometry.samples
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[first_bit : first_bit + count]
        return bits.reshape(geometry.rows, geometry.columns, geometry.samples)
    if geometry.subsampled:
        return _from_422(np.frombuffer(data, np.uint8, geometry.pixels * 2), geometry)
    values = np.frombuffer(data, frame_type(geometry), geometry.pixels * geometry.samples)
    if geometry.planar and geometry.samples > 1:
        planes = values.reshape(geometry.samples, geometry.rows, geometry.columns)
        # Not as a view: codecs look at strides, which numpy leaves odd where an axis has one element.
        return planes.transpose(1, 2, 0).copy()
    return values.reshape(geometry.rows, geometry.columns, geometry.samples)


def _from_422(values: NDArray[np.uint8], geometry: Geometry) -> Frame:
    """Repeat the chrominance of each pair of pixels: Y1 Y2 CB CR (PS3.3 C.7.6.3.1.2)."""
    groups = values.reshape(-1, 4)
    frame = np.empty((len(groups), 2, 3), np.uint8)
    frame[:, :, 0] = groups[:, :2]
    frame[:, :, 1:] = groups[:, None, 2:]
    return frame.reshape(geometry.rows, geometry.columns, 3)


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
    """Turn what a decoder gave into the type of the frame; unsigned samples of signed pixels get their sign again.

    `precision` and `signed` are what the bit stream says of its samples.
    """
    if values.dtype == frame_type(geometry):
        return values
    wanted = frame_type(geometry)
    if geometry.signed and not signed and precision < geometry.bits_allocated:
        half = 1 << (precision - 1)
        return ((values.astype(np.int64) ^ half) - half).astype(wanted)
    return values.astype(wanted)


def stored_values(frame: Frame, geometry: Geometry, *, shift: int) -> Frame:
    """Return the values that the bits stored of each word say, without what else is in it (PS3.5 8.1.1)."""
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
