"""Which part of a frame fills how large a picture (PS3.18 8.3.5.1.3), and pictures of other sizes."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.errors import BadRenderOptions
from osteon.dicom.pixels.functional_groups import PIXEL_MEASURES, holders
from osteon.dicom.pixels.render_options import Viewport

_ASPECT_RATIO: Final = 0x00280034
_SPACINGS: Final = (0x00280030, 0x00181164, 0x00182010)
LARGEST: Final = 1 << 14
"""Pixels of a picture in each direction, unless the frame itself has more."""

_ROWS_AT_A_TIME: Final = 64

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a frame in whole pixels, and whether it is mirrored."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool = False
    upside_down: bool = False

    def cut(self, frame: Pixels) -> Pixels:
        """Return this part of a frame, as a view."""
        part = frame[self.top : self.top + self.height, self.left : self.left + self.width]
        return part[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


def region(viewport: Viewport, columns: int, rows: int) -> Region:
    """Return the part of a frame that a viewport shows; raises `BadRenderOptions` when none of it is in the frame."""
    if not (0 < viewport.vw <= LARGEST and 0 < viewport.vh <= LARGEST):
        raise BadRenderOptions(f"viewport {viewport.vw},{viewport.vh} is not 1 to {LARGEST} pixels in each direction")
    left, width = _span(viewport.sx, viewport.sw, columns, "sx, sw")
    top, height = _span(viewport.sy, viewport.sh, rows, "sy, sh")
    return Region(left, top, width, height, (viewport.sw or 0) < 0, (viewport.sh or 0) < 0)


def _span(start: float | None, size: float | None, most: int, names: str) -> tuple[int, int]:
    """Return the first pixel and how many, within 0 to `most`; parts of pixels are rounded."""
    begin = abs(start or 0.0)
    end = most if size is None else begin + abs(size)
    if not isfinite(begin) or not isfinite(end) or begin >= most or end <= begin:
        raise BadRenderOptions(f"viewport {names}: no part of the frame, which has {most} pixels there")
    first = min(round(begin), most - 1)
    return first, max(1, min(round(end), most) - first)


def pixel_aspect(attributes: Attributes, number: int) -> float:
    """Return how many times as high as wide a pixel of frame `number` is: by its ratio, else its spacing."""
    measures = holders(attributes, PIXEL_MEASURES, number)
    for holder, tag in ((attributes, _ASPECT_RATIO), *((each, tag) for each in measures for tag in _SPACINGS)):
        numbers = holder.decimals(tag)
        if len(numbers) == 2 and all(0 < number < float("inf") for number in numbers):
            return numbers[0] / numbers[1]
    return 1.0


def fitted(width: float, height: float, vw: int, vh: int) -> tuple[int, int]:
    """Return the largest size in pixels, at most `vw` x `vh`, with the proportions of `width` x `height`."""
    scale = min(vw / width, vh / height)
    return min(vw, max(1, round(width * scale))), min(vh, max(1, round(height * scale)))


def resized(picture: Pixels, width: int, height: int) -> Pixels:
    """Return a picture of 8 bits in another size: means where it shrinks, linear between pixels where it grows."""
    if picture.shape[:2] == (height, width):
        return picture
    values = picture
    for axis, size in ((0, height), (1, width)):
        if size < values.shape[axis]:
            values = _shrunk(values, size, axis)
    result = np.empty((height, width, *picture.shape[2:]), np.uint8)
    rows, columns = _places(values.shape[0], height), _places(values.shape[1], width)
    for start in range(0, height, _ROWS_AT_A_TIME):
        part = _between(_between(values, rows[start : start + _ROWS_AT_A_TIME], 0), columns, 1)
        result[start : start + _ROWS_AT_A_TIME] = np.rint(part, out=part)
    return result


def _shrunk(values: Pixels, size: int, axis: int) -> Pixels:
    length = values.shape[axis]
    starts = np.arange(size) * length // size
    counts = np.diff(starts, append=length)
    if axis == 0:
        sums = _sums_of_rows(values, starts, counts)
    else:
        sums = np.add.reduceat(values, starts, axis=axis, dtype=np.float32)
    return sums / _along(counts.astype(np.float32), values, axis)


def _sums_of_rows(values: Pixels, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> Pixels:
    """Return the sums of so many rows from each start on: whole rows are added faster than `reduceat` does it."""
    sums: Pixels = values[starts].astype(np.float32)
    for place in range(1, int(counts.max())):
        longer = counts > place
        if longer.all():
            sums += values[starts + place]
        else:
            sums[longer] += values[starts[longer] + place]
    return sums


def _places(length: int, size: int) -> NDArray[np.float32]:
    """Return where in `length` pixels the centres of `size` lie."""
    places: NDArray[np.float32] = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(length / size)
    places -= np.float32(0.5)
    return np.clip(places, 0, length - 1, out=places)


def _between(values: Pixels, places: NDArray[np.float32], axis: int) -> Pixels:
    """Return the values at places between pixels."""
    before = places.astype(np.intp)
    found: Pixels = values.take(before, axis=axis).astype(np.float32, copy=False)
    share = places - before
    if share.any():
        after = values.take(np.minimum(before + 1, values.shape[axis] - 1), axis=axis)
        found += (after - found) * _along(share, values, axis)
    return found


def _along(numbers: NDArray[np.float32], values: Pixels, axis: int) -> Pixels:
    shape = [1] * values.ndim
    shape[axis] = len(numbers)
    return numbers.reshape(shape)
