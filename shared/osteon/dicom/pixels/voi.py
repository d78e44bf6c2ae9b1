"""The values of interest as shares of full brightness, from 0 to 1 (PS3.3 C.11.2)."""

from collections.abc import Callable
from math import isfinite
from typing import Final

import numpy as np

from osteon.dicom.pixels.attributes import Attributes, readable
from osteon.dicom.pixels.errors import BadRenderOptions
from osteon.dicom.pixels.functional_groups import FRAME_VOI_LUT, holders
from osteon.dicom.pixels.lut import Lut, Values, read_lut
from osteon.dicom.pixels.render_options import Window

_CENTRE: Final = 0x00281050
_WIDTH: Final = 0x00281051
_FUNCTION: Final = 0x00281056
_VOI_LUTS: Final = 0x00283010
_FUNCTIONS: Final = {"LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}


def read_voi(attributes: Attributes, number: int, low: float, high: float) -> Window | Lut | None:
    """Return the first table, else the first window, for a frame with values from `low` to `high`; None without.

    What is damaged or shows nothing is passed over.
    """
    for item in holders(attributes, FRAME_VOI_LUT, number):
        for each in readable(item.items, _VOI_LUTS) or ():
            if table := readable(read_lut, each, low, high):
                return table
        window = _window(item)
        if window and window.centre - window.width / 2 <= high and window.centre + window.width / 2 >= low:
            return window
    return None


def read_window(attributes: Attributes, number: int) -> Window | None:
    """Return the first window of a frame that shows something; None without."""
    return next(filter(None, map(_window, holders(attributes, FRAME_VOI_LUT, number))), None)


def _window(item: Attributes) -> Window | None:
    for centre, width in zip(item.decimals(_CENTRE), item.decimals(_WIDTH), strict=False):
        if isfinite(centre) and 0 < width < float("inf"):
            return Window(centre, width, _FUNCTIONS.get(item.text(_FUNCTION), "linear"))
    return None


def check_window(window: Window) -> Window:
    """Return a window that was requested; raises `BadRenderOptions` when it is invalid (PS3.18 8.3.5.1.4)."""
    if window.function not in _SHAPES:
        raise BadRenderOptions(f"window function {window.function!r} is not one of {', '.join(_SHAPES)}")
    least = 1 if window.function == "linear" else 0
    wide_enough = window.width >= least if least else window.width > 0
    if not isfinite(window.centre) or not isfinite(window.width) or not wide_enough:
        limit = "1 or more" if least else "more than 0"
        raise BadRenderOptions(f"window {window.centre:g},{window.width:g}: a {window.function} width is {limit}")
    return window


def apply_window(values: Values, window: Window) -> Values:
    """Return shares of full brightness, 0 to 1."""
    return _SHAPES[window.function](values, window.centre, window.width)


def _linear(values: Values, centre: float, width: float) -> Values:
    """Of C.11.2.1.2.1; a width below 1, which files of fractions have, is taken as exact."""
    if width < 1:
        return _linear_exact(values, centre, width)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _linear_exact(values: Values, centre: float, width: float) -> Values:
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _sigmoid(values: Values, centre: float, width: float) -> Values:
    # Beyond 700 the exponential is more than a float holds, and the share is 0 long before.
    return 1 / (1 + np.exp(np.minimum(-4 * (values - centre) / width, 700)))


_SHAPES: Final[dict[str, Callable[[Values, float, float], Values]]] = {
    "linear": _linear,
    "linear-exact": _linear_exact,
    "sigmoid": _sigmoid,
}
