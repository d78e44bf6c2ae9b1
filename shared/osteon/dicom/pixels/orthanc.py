"""Pictures by the rules of Orthanc's REST API, as its clients expect them to the last grey level."""

from math import isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.grayscale import Picture, apply_table, extremes
from osteon.dicom.pixels.lut import Values
from osteon.dicom.pixels.modality import Rescale
from osteon.dicom.pixels.native import Frame
from osteon.dicom.pixels.render_options import Window

_LEAST: Final = 0.0001
"""Slopes are not nearer to 0."""
_KERNEL: Final = (1, 4, 6, 4, 1)

Pixels = NDArray[Any]


def stretched(frame: Frame) -> Picture:
    """Return the range of a grey frame as 0 to 255; all 0 when its values are all the same."""
    low, high = extremes(frame)
    if low == high:
        return np.zeros(frame.shape, np.uint8)
    scale = np.float32(255) / np.float32(high - low)
    return apply_table(
        frame, lambda values: _bytes(np.floor((values.astype(np.float32) - np.float32(low)) * scale + 0.5))
    )


def clamped(frame: Frame, kind: type[np.integer[Any]]) -> Pixels:
    """Return the values of a grey frame as whole numbers of a type, the nearest where it cannot hold them."""
    if frame.dtype == kind:
        return frame
    limits = np.iinfo(kind)
    if frame.dtype.kind == "f":
        frame = np.nan_to_num(frame)
    return np.clip(frame, limits.min, limits.max).astype(kind)


def windowed(frame: Frame, window: Window, rescale: Rescale) -> Picture:
    """Return a grey frame in a window of rescaled values, the fraction of a grey level cut off.

    A line `scale * value + offset` in single precision, whose two numbers are computed in double precision: where a
    value is just on the border between two grey levels, the order of the steps decides.
    """
    width = max(window.width, 1.0)
    slope = rescale.slope if abs(rescale.slope) > _LEAST else _LEAST
    scale = np.float32(255 * slope / width)
    offset = np.float32((rescale.intercept - window.centre + width / 2) / slope) * scale
    return apply_table(frame, lambda values: _bytes(values.astype(np.float32) * scale + offset))


def full_window(bits_stored: int) -> Window:
    """Return the window that counts where the file has none: from 0 on, as wide as unsigned pixels can be."""
    width = float(1 << bits_stored)
    return Window(width / 2, width, "linear-exact")


def merged_window(requested: Window | None, own: Window) -> Window:
    """Return the window that was requested; a number that it leaves out (`nan`) is the frame's own."""
    if requested is None:
        return own
    centre = own.centre if isnan(requested.centre) else requested.centre
    return Window(centre, own.width if isnan(requested.width) else requested.width, requested.function)


def whole_bytes(frame: Frame) -> Frame:
    """Return a frame of single bits as bytes of 0 and 255."""
    return frame * np.uint8(255)


def rescaled(frame: Frame, rescale: Rescale) -> NDArray[np.float32]:
    """Return a grey frame with slope and intercept applied."""
    return frame.astype(np.float32) * np.float32(rescale.slope) + np.float32(rescale.intercept)


def new_size(columns: int, rows: int, width: int | None, height: int | None) -> tuple[int, int]:
    """Return the size of a picture that is as wide or as high as requested, at most, and keeps its proportions."""
    ratios = [kind / actual for kind, actual in ((width, columns), (height, rows)) if kind]
    ratio = np.float32(min(ratios, default=1))
    new_columns, new_rows = (max(1, int(np.floor(ratio * np.float32(size) + 0.5))) for size in (columns, rows))
    return new_columns, new_rows


def resized(picture: Picture, width: int, height: int, *, smooth: bool) -> Picture:
    """Return a picture in another size, each pixel the nearest one of the frame's."""
    rows, columns = picture.shape[:2]
    if (width, height) == (columns, rows):
        return picture
    if smooth and (width < columns or height < rows):
        picture = _blurred(picture)
    return picture[_nearest(rows, height)[:, None], _nearest(columns, width)]


def _nearest(size: int, new: int) -> NDArray[np.intp]:
    centres = np.arange(new, dtype=np.float32) + np.float32(0.5)
    places: NDArray[np.intp] = np.floor(centres * (np.float32(size) / np.float32(new))).astype(np.intp)
    return np.minimum(places, size - 1)


def _blurred(picture: Picture) -> Picture:
    """Apply a Gaussian of 5 x 5 pixels; those at the edge go on outside."""
    values = picture.astype(np.uint16)
    for axis in (1, 0):
        size = values.shape[axis]
        sums = np.zeros_like(values)
        for offset, weight in enumerate(_KERNEL, -2):
            sums += np.uint16(weight) * values.take(np.clip(np.arange(size) + offset, 0, size - 1), axis=axis)
        values = sums
    return (values >> 8).astype(np.uint8)


def _bytes(values: Values | NDArray[np.float32]) -> Picture:
    """Cut off fractions and what is beyond 0 and 255; what is not a number becomes 0."""
    levels: Picture = np.clip(np.nan_to_num(values, nan=0.0), 0, 255).astype(np.uint8)
    return levels
