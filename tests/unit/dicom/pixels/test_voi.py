"""The VOI functions against the formulas of PS3.3 C.11.2, one value at a time."""

from math import exp, isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.dicom.pixels.errors import BadRenderOptions
from osteon.dicom.pixels.render_options import Window
from osteon.dicom.pixels.voi import apply_window, check_window

numbers = st.floats(-1e5, 1e5)
values = st.lists(numbers, min_size=1, max_size=20)


def linear(x: float, c: float, w: float) -> float:
    """C.11.2.1.2.1, with ymin 0 and ymax 1."""
    if x <= c - 0.5 - (w - 1) / 2:
        return 0
    if x > c - 0.5 + (w - 1) / 2:
        return 1
    return (x - (c - 0.5)) / (w - 1) + 0.5


def linear_exact(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.2."""
    if x <= c - w / 2:
        return 0
    if x > c + w / 2:
        return 1
    return (x - c) / w + 0.5


def sigmoid(x: float, c: float, w: float) -> float:
    """C.11.2.1.3.1."""
    exponent = -4 * (x - c) / w
    return 0 if exponent > 700 else 1 / (1 + exp(exponent))


def check(function: str, reference, xs: list[float], c: float, w: float) -> None:
    found = apply_window(np.array(xs), Window(c, w, function))
    for x, share in zip(xs, found, strict=True):
        assert isclose(share, reference(x, c, w), abs_tol=1e-6 + 1e-6 / w), (x, c, w)


@given(values, numbers, st.floats(1.001, 1e5))
def test_linear_windows_follow_the_standard(xs: list[float], c: float, w: float) -> None:
    check("linear", linear, xs, c, w)


@given(st.lists(st.integers(-4096, 4096), min_size=1), st.integers(-1000, 3000), st.integers(1, 5000))
def test_linear_windows_of_whole_numbers_follow_the_standard(xs: list[int], c: int, w: int) -> None:
    check("linear", linear, [float(x) for x in xs], c, w)


@given(values, numbers, st.floats(0.001, 1e5))
def test_exact_windows_follow_the_standard(xs: list[float], c: float, w: float) -> None:
    check("linear-exact", linear_exact, xs, c, w)


@given(values, numbers, st.floats(0.001, 1e5))
def test_sigmoid_windows_follow_the_standard(xs: list[float], c: float, w: float) -> None:
    check("sigmoid", sigmoid, xs, c, w)


def test_a_linear_window_of_width_1_is_a_step_below_its_centre() -> None:
    assert apply_window(np.array([9.0, 9.5, 9.6, 10.0]), Window(10, 1)).tolist() == [0, 0, 1, 1]


def test_a_linear_window_narrower_than_1_is_taken_as_exact() -> None:
    assert apply_window(np.array([0.0, 0.25, 0.5]), Window(0.25, 0.5)).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    "window",
    [(4, 0.5, "linear"), (4, 0, "linear-exact"), (4, -1, "sigmoid"), (float("nan"), 9), (1, 1e999), (1, 2, "log")],
    ids=["narrow", "zero", "negative", "no centre", "endless", "function"],
)  # fmt: skip
def test_windows_that_can_not_be_are_refused(window: tuple) -> None:
    with pytest.raises(BadRenderOptions, match="window"):
        check_window(Window(*window))
