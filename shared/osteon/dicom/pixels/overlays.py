"""Overlays of an image, burned into its picture: annotations such as lines and letters (PS3.3 C.9.2, PS3.5 8.1.2)."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes, readable
from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.pixels.native import Decoded

_GROUPS: Final = range(0x6000, 0x6020, 2)
_ROWS, _COLUMNS, _FRAMES, _TYPE, _ORIGIN = 0x0010, 0x0011, 0x0015, 0x0040, 0x0050
_FIRST_FRAME, _ALLOCATED, _BIT, _DATA = 0x0051, 0x0100, 0x0102, 0x3000

_WHITE: Final = 255
_MOST_PIXELS: Final = 1 << 27
"""Pixels of a plane that is read at most."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Overlay:
    """The plane of one group that belongs to a frame; `top` and `left` of the frame's first pixel are 0."""

    mask: Mask
    top: int
    left: int

    def burn(self, picture: NDArray[Any]) -> None:
        """Make the pixels of a picture, (rows, columns) or with colours, white that the overlay marks."""
        rows, columns = picture.shape[:2]
        first_row, first_column = max(0, -self.top), max(0, -self.left)
        part = self.mask[first_row : max(0, rows - self.top), first_column : max(0, columns - self.left)]
        top, left = self.top + first_row, self.left + first_column
        picture[top : top + part.shape[0], left : left + part.shape[1]][part] = _WHITE


def annotated(
    picture: NDArray[Any], attributes: Attributes, geometry: Geometry, number: int, cells: Decoded
) -> NDArray[Any]:
    """Return the picture of 8 bits of frame `number` with its graphics in white.

    `cells` are the words of the frame, where retired overlays have a bit of their own. Regions of interest, which would
    hide the image, are left out, and so is what is damaged.
    """
    for group in _GROUPS:
        if group << 16 | _TYPE not in attributes:
            continue
        overlay = readable(_overlay, attributes, group << 16, number, cells, geometry)
        if overlay is None:
            continue
        if not picture.flags.writeable:
            picture = picture.copy()
        overlay.burn(picture)
    return picture


def _overlay(attributes: Attributes, tag: int, number: int, cells: Decoded, geometry: Geometry) -> Overlay | None:
    if attributes.text(tag | _TYPE) == "R":
        return None
    packed = tag | _DATA in attributes
    mask = _packed(attributes, tag, number) if packed else _within(attributes, tag, cells, geometry)
    if mask is None:
        return None
    origin = [int(place) for place in attributes.numbers(tag | _ORIGIN) if isfinite(place)] or [1, 1]
    return Overlay(mask, origin[0] - 1, origin[-1] - 1)


def _packed(attributes: Attributes, tag: int, number: int) -> Mask | None:
    """Return the plane for a frame; None when it has none, or fewer bits than its size."""
    rows, columns = _whole(attributes, tag | _ROWS, 0), _whole(attributes, tag | _COLUMNS, 0)
    planes, first = _whole(attributes, tag | _FRAMES, 1), _whole(attributes, tag | _FIRST_FRAME, 1)
    # One without a number of frames is for every frame.
    plane = number - first if tag | _FRAMES in attributes and planes > 1 else 0
    if not 0 <= plane < planes or min(rows, columns) < 1:
        return None
    size = rows * columns
    if size > _MOST_PIXELS:
        return None
    begin = plane * size
    start = begin // 16 * 2
    data = attributes.raw(tag | _DATA, start, start + (size + 30) // 16 * 2)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[begin - start * 8 :][:size]
    return bits.reshape(rows, columns).astype(np.bool_) if size and len(bits) == size else None


def _within(attributes: Attributes, tag: int, cells: Decoded, geometry: Geometry) -> Mask | None:
    """Return the bit of each word that an overlay of earlier editions of the standard has.

    None where there cannot be one: among the bits of the values, above those of a bit stream, and where the bit is
    nothing but the sign of the value.
    """
    bit, frame = _whole(attributes, tag | _BIT, -1), cells.frame[:, :, 0]
    if _whole(attributes, tag | _ALLOCATED, 1) == 1 or frame.dtype.kind == "f" or not 0 <= bit < 8 * frame.itemsize:
        return None
    values = range(geometry.shift, geometry.shift + geometry.bits_stored)
    if bit in values or 0 < cells.precision <= bit:
        return None
    mask: Mask = (frame >> bit & 1).astype(np.bool_)
    return None if geometry.signed and np.array_equal(mask, frame >> values[-1] & 1) else mask


def _whole(attributes: Attributes, tag: int, default: int) -> int:
    value = attributes.number(tag)
    return default if value is None or not isfinite(value) else int(value)
