"""The values of interest as shares of full brightness, from 0 to 1 (PS3.3 C.11.2)."""

from collections.abc import Callable
from math import isfinite
from typing import Final

import numpy as np

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.errors import BadRenderOptions
from osteon.dicom.pixels.functional_groups import FRAME_VOI_LUT, of_frame
from osteon.dicom.pixels.lut import Lut, Values, read_lut
from osteon.dicom.pixels.render_options import Window

_CENTRE: Final = 0x00281050
_WIDTH: Final = 0x00281051
_FUNCTION: Final = 0x00281056
_VOI_LUTS: Final = 0x00283010
_FUNCTIONS: Final = {"LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}


def read_voi(attributes: Attributes, number: int, *, signed: bool) -> Window | Lut | None:
    """Return the first table, else the first window, of a frame; None without.

    `signed`: the values that it takes may be negative. Raises `PixelError` when they are damaged.
    """
    item = of_frame(attributes, FRAME_VOI_LUT, number)
    if tables := item.items(_VOI_LUTS):
        return read_lut(tables[0], signed=signed)
    return read_window(item)


def read_window(item: Attributes) -> Window | None:
    """Return the first window; None when there is none, or one that shows nothing."""
    centre, width = item.number(_CENTRE), item.number(_WIDTH)
    if centre is None or width is None or not isfinite(centre) or not 0 < width < float("inf"):
        return None
    return Window(centre, width, _FUNCTIONS.get(item.text(_FUNCTION), "linear"))


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
