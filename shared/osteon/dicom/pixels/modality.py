"""Stored values to values that mean something, such as Hounsfield units (PS3.3 C.11.1)."""

from dataclasses import dataclass
from math import isfinite
from typing import Final

from osteon.dicom.pixels.attributes import Attributes, readable
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.functional_groups import PIXEL_VALUE_TRANSFORMATION, holders, of_frame
from osteon.dicom.pixels.lut import Lut, Values, read_lut

_SOP_CLASS: Final = 0x00080016
_RELATIONSHIP: Final = 0x00281040
_INTERCEPT: Final = 0x00281052
_SLOPE: Final = 0x00281053
_MODALITY_LUTS: Final = 0x00283000
_X_RAY: Final = frozenset(f"1.2.840.10008.5.1.4.1.1.12.{number}" for number in ("1", "1.1", "2", "2.1"))
"""XA and XRF, also enhanced."""


@dataclass(frozen=True, slots=True)
class Rescale:
    """Rescale Slope and Intercept (PS3.3 C.11.1)."""

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, values: Values) -> Values:
        """Return `values` x slope + intercept."""
        if self == _NONE:
            return values
        return values * self.slope + self.intercept

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Return the least and the greatest result for values from `low` to `high`."""
        ends = low * self.slope + self.intercept, high * self.slope + self.intercept
        return min(ends), max(ends)


_NONE: Final = Rescale()


def read_rescale(attributes: Attributes, number: int) -> Rescale:
    """Return slope and intercept of a frame, 1 and 0 without; raises `PixelError` when they are not numbers.

    A slope of 0, which would leave nothing of the image, counts as none.
    """
    return _rescale(of_frame(attributes, PIXEL_VALUE_TRANSFORMATION, number))


def _rescale(item: Attributes) -> Rescale:
    slope, intercept = float(item.number(_SLOPE) or 1), float(item.number(_INTERCEPT) or 0)
    for tag, value in (("1053", slope), ("1052", intercept)):
        if not isfinite(value):
            raise PixelError(f"(0028,{tag}) is {value}")
    if slope + intercept == intercept:
        raise PixelError(f"(0028,1052) is {intercept}, beside which a slope of {slope} is nothing")
    return Rescale(slope, intercept)


def shown_rescale(attributes: Attributes, number: int) -> Rescale:
    """Return slope and intercept for a picture: what is no number is passed over."""
    found = (readable(_rescale, item) for item in holders(attributes, PIXEL_VALUE_TRANSFORMATION, number))
    return next((rescale for rescale in found if rescale), _NONE)


def read_modality(attributes: Attributes, number: int, low: float, high: float) -> Rescale | Lut:
    """Return what turns stored values of a frame, from `low` to `high`, into those that the VOI LUT takes.

    A damaged Modality LUT gives way to the rescale, and that to none.
    """
    if _not_for_display(attributes):
        return _NONE
    for item in readable(attributes.items, _MODALITY_LUTS) or ():
        if table := readable(read_lut, item, low, high):
            return table
    return shown_rescale(attributes, number)


def _not_for_display(attributes: Attributes) -> bool:
    """X-ray angiography can be displayed as stored; its Modality LUT leads back to intensities (C.8.7.1.1.2)."""
    return attributes.text(_SOP_CLASS) in _X_RAY and attributes.text(_RELATIONSHIP) in ("LOG", "DISP")
