"""Stored values of grey frames to 8 bits for a person: modality, VOI, padding, inversion (PS3.3 C.11, PS3.4 N.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes, readable
from osteon.dicom.pixels.geometry import Geometry
from osteon.dicom.pixels.lut import Lut, Values
from osteon.dicom.pixels.modality import Rescale, read_modality
from osteon.dicom.pixels.native import Frame, stored_range
from osteon.dicom.pixels.render_options import Window
from osteon.dicom.pixels.voi import apply_window, read_voi

_PADDING: Final = (0x00280120, 0x00280122, 0x00280123)
_PADDING_LIMIT: Final = (0x00280121, 0x00280124, 0x00280125)
_SHAPE: Final = 0x20500020
_SHAPES: Final = ("IDENTITY", "INVERSE")
_MOST_FRACTION: Final = 0x0062000E
_SOP_CLASS: Final = 0x00080016
_LABELS: Final = frozenset(("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"))
_WIDEST_TABLE: Final = 1 << 16
_AT_A_TIME: Final = 1 << 16
"""Pixels: few enough for a processor's cache."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class GrayscaleRules:
    """How one frame becomes grey.

    Attributes:
        padding: stored values from the first to the second are background; None: none are.
        full: stored values that are black and white where there is no window; None: the least and greatest there are.
        inverted: the least value is white.
    """

    modality: Rescale | Lut
    voi: Window | Lut | None
    padding: tuple[float, float] | None = None
    full: tuple[float, float] | None = None
    inverted: bool = False

    def apply(self, frame: Frame) -> Picture:
        """Return the picture of (rows, columns) stored values."""
        voi = self.voi or self._whole_range(frame)
        return apply_table(frame, lambda stored: self._levels(stored, voi))

    def _levels(self, stored: Values, voi: Window | Lut) -> Picture:
        values = self.modality.apply(stored)
        shares = apply_window(values, voi) if isinstance(voi, Window) else voi.apply(values) / voi.top
        if self.inverted:
            shares = 1 - shares
        levels = np.rint(shares * 255)
        background = ~np.isfinite(stored) | np.isnan(levels)
        if self.padding:
            background |= (stored >= self.padding[0]) & (stored <= self.padding[1])
        levels[background] = 0
        return levels.astype(np.uint8)

    def _whole_range(self, frame: Frame) -> Window:
        """Return the window from the least to the greatest value that is not background."""
        full = self.full or extremes(frame)
        if not self.full and self.padding and full[0] <= self.padding[1] and full[1] >= self.padding[0]:
            shown = frame[(frame < self.padding[0]) | (frame > self.padding[1])]
            full = extremes(shown) if shown.size else full
        low, high = self.modality.span(*full)
        return Window((low + high) / 2, (high - low) or 1, "linear-exact")


def extremes(frame: Frame) -> tuple[float, float]:
    """Return the least and the greatest number; 0 and 0 when there is none."""
    if frame.dtype.kind == "f":
        frame = frame[np.isfinite(frame)]
    return (frame.min().item(), frame.max().item()) if frame.size else (0, 0)


def apply_table(frame: Frame, function: "Callable[[Values], NDArray[Any]]") -> NDArray[Any]:
    """Return `function` of each value of (rows, columns); of whole numbers that lie close, each is computed once.

    What that takes of memory is bounded: it is done for some rows at a time.
    """
    step = max(1, _AT_A_TIME // frame.shape[1])
    parts = (frame[start : start + step] for start in range(0, len(frame), step))
    low, high = (0, _WIDEST_TABLE) if frame.dtype.kind == "f" else extremes(frame)
    if high - low >= _WIDEST_TABLE:
        return np.concatenate([function(part.astype(np.float64)) for part in parts])
    table = function(np.arange(low, high + 1, dtype=np.float64))
    unsigned = np.dtype(f"u{frame.dtype.itemsize}")
    # Unsigned, so that the difference of two signed values does not overflow.
    first = unsigned.type(int(low) % (1 << 8 * unsigned.itemsize))
    picture = np.empty(frame.shape, table.dtype)
    for number, part in enumerate(parts):
        places = part.view(unsigned) - first if low else part
        # Every place is in the table: without `clip`, numpy would keep the result aside until it knows that.
        table.take(places, mode="clip", out=picture[number * step : (number + 1) * step])
    return picture


def read_grayscale_rules(
    attributes: Attributes, geometry: Geometry, number: int, window: Window | None
) -> GrayscaleRules:
    """Return how frame `number` is to be shown; `window` takes the place of the file's."""
    stored = stored_range(geometry.bits_stored, signed=geometry.signed or geometry.floating)
    modality = read_modality(attributes, number, *stored)
    return GrayscaleRules(
        modality,
        window or read_voi(attributes, number, *modality.span(*stored)),
        padding=_padding(attributes, geometry),
        full=_full_range(attributes, geometry),
        inverted=is_inverted(attributes, geometry),
    )


def is_inverted(attributes: Attributes, geometry: Geometry) -> bool:
    """Whether the least value is white: Presentation LUT Shape says so, else the Photometric Interpretation."""
    shape = attributes.text(_SHAPE)
    return shape == "INVERSE" if shape in _SHAPES else geometry.photometric == "MONOCHROME1"


def _padding(attributes: Attributes, geometry: Geometry) -> tuple[float, float] | None:
    """Return the range of stored values that are not part of the image (C.7.5.1.1.2)."""
    for value_tag, limit_tag in zip(_PADDING, _PADDING_LIMIT, strict=True):
        found = (readable(attributes.number, tag) for tag in (value_tag, limit_tag))
        value, limit = (None if number is None or not isfinite(number) else number for number in found)
        if value is not None:
            ends = [value, value if limit is None else limit]
            low, high = sorted(ends if geometry.floating else (_as_stored(int(end), geometry) for end in ends))
            return low, high
    return None


def _as_stored(value: int, geometry: Geometry) -> int:
    """Return a value of 16 bits, or of those stored, with the sign that Pixel Representation gives it, not its VR."""
    low, high = stored_range(geometry.bits_stored, signed=geometry.signed)
    if low <= value <= high:
        return value
    turns = (1 << 16, 1 << geometry.bits_stored) if geometry.signed else (1 << 16,)
    others = (value + way * turn for turn in turns for way in (-1, 1))
    return next((other for other in others if low <= other <= high), value)


def _full_range(attributes: Attributes, geometry: Geometry) -> tuple[float, float] | None:
    """Return black and white of images that need no window: bytes, bits, and fractions of a segment."""
    if geometry.floating or geometry.signed or geometry.bits_stored > 8:
        return None
    if geometry.bits_stored == 1:
        return 0, 1
    if attributes.text(_SOP_CLASS) in _LABELS:
        most = readable(attributes.number, _MOST_FRACTION)
        return (0, most) if most else None
    return 0, (1 << geometry.bits_stored) - 1
