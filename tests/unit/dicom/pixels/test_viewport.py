"""Viewports: which part of a frame, how large, and what becomes of its pixels (PS3.18 8.3.5.1.3)."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom import Dataset

from osteon.dicom.pixels.errors import BadRenderOptions
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.render_options import RenderOptions, Viewport
from osteon.dicom.pixels.rendering import render
from osteon.dicom.pixels.viewport import LARGEST, fitted, region, resized
from support.dicom.datasets import saved
from support.dicom.pixels.rendering import colours, drawn, grey

sizes = st.integers(1, 400)
SIXTEEN = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16


@given(sizes, sizes, st.integers(1, 2000), st.integers(1, 2000), st.floats(0.1, 10))
def test_pictures_fill_the_viewport_in_one_direction_and_keep_their_proportions(
    width: int, height: int, vw: int, vh: int, aspect: float
) -> None:
    found = fitted(width, height * aspect, vw, vh)
    assert found[0] == vw or found[1] == vh
    assert found[0] <= vw and found[1] <= vh
    scale = min(vw / width, vh / (height * aspect))
    assert abs(found[0] - width * scale) <= 1 and abs(found[1] - height * aspect * scale) <= 1


@given(st.data(), sizes, sizes)
def test_a_region_in_whole_pixels_is_cut_out_and_turned(data: st.DataObject, columns: int, rows: int) -> None:
    sx, sy = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    sw, sh = data.draw(st.integers(1, columns - sx)), data.draw(st.integers(1, rows - sy))
    mirrored, upside_down = data.draw(st.booleans()), data.draw(st.booleans())
    frame = np.arange(rows * columns).reshape(rows, columns)
    viewport = Viewport(10, 10, sx, sy, -sw if mirrored else sw, -sh if upside_down else sh)
    part = region(viewport, columns, rows).cut(frame)
    assert part.shape == (sh, sw)
    for y in range(0, sh, 7):
        for x in range(0, sw, 7):
            row, column = sy + (sh - 1 - y if upside_down else y), sx + (sw - 1 - x if mirrored else x)
            assert part[y, x] == row * columns + column


@given(st.floats(-500, 500), st.floats(-500, 500), sizes)
def test_a_region_is_in_the_frame_or_refused(start: float, size: float, columns: int) -> None:
    try:
        found = region(Viewport(10, 10, start, 0, size, 1), columns, 5)
    except BadRenderOptions:
        assert abs(start) >= columns or abs(start) + abs(size) == abs(start)
        return
    assert 0 <= found.left < found.left + found.width <= columns


@given(sizes, sizes)
def test_what_is_left_out_of_a_viewport_goes_to_the_frames_edge(columns: int, rows: int) -> None:
    assume(columns > 3 and rows > 2)
    found = region(Viewport(10, 10, 3, 2), columns, rows)
    assert (found.left, found.top, found.width, found.height) == (3, 2, columns - 3, rows - 2)
    whole = region(Viewport(10, 10, None, None, -columns, None), columns, rows)
    assert (whole.left, whole.width, whole.mirrored, whole.upside_down) == (0, columns, True, False)


@pytest.mark.parametrize(
    "viewport",
    [(0, 9), (9, -1), (LARGEST + 1, 1), (9, 9, 4), (9, 9, 0, 0, 0), (9, 9, 0, float("nan")), (9, 9, 0, 0, 1e999)],
    ids=["no width", "no height", "too large", "outside", "empty", "no number", "endless"],
)  # fmt: skip
def test_viewports_that_show_nothing_are_refused(tmp_path: Path, viewport: tuple) -> None:
    with pytest.raises(BadRenderOptions, match="viewport"):
        drawn(grey(SIXTEEN), tmp_path, viewport=Viewport(*viewport))


@pytest.mark.parametrize(
    "order", [{"viewport": Viewport(9999, 9999)}, {"mode": "orthanc", "width": 9999}], ids=["viewport", "width"]
)
def test_a_picture_larger_than_a_frame_may_be_is_refused(tmp_path: Path, order: dict) -> None:
    path = saved(grey(SIXTEEN), tmp_path)
    with pytest.raises(BadRenderOptions, match="9999 x 9999 pixels has 99980001 bytes"):
        render(path, RenderOptions(**order), tmp_path / "picture", PixelLimits(frame_bytes=1 << 20))


def shrunk(values: list[int], size: int) -> list[float]:
    """Return the means of the pixels that fall onto each new one."""
    bounds = [number * len(values) // size for number in range(size + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]


def grown(values: list[int], size: int) -> list[float]:
    """Return values between the centres of two pixels."""
    found = []
    for number in range(size):
        place = min(max((number + 0.5) * len(values) / size - 0.5, 0), len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        found.append(values[low] + (values[high] - values[low]) * (place - low))
    return found


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60), st.integers(1, 90), st.booleans())
def test_lines_shrink_to_means_and_grow_between_pixels(values: list[int], size: int, upright: bool) -> None:
    line = np.array(values, np.uint8)[None]
    found = resized(line.T, 1, size).T if upright else resized(line, size, 1)
    wanted = (shrunk if size < len(values) else grown)(values, size)
    assert np.abs(found[0] - np.array(wanted)).max() <= 0.51


@given(sizes, sizes, st.integers(1, 50), st.integers(1, 50), st.sampled_from([(), (3,)]))
def test_a_flat_picture_stays_flat_in_any_size(
    rows: int, columns: int, width: int, height: int, rest: tuple[int, ...]
) -> None:
    found = resized(np.full((rows, columns, *rest), 201, np.uint8), width, height)
    assert found.shape == (height, width, *rest) and found.dtype == np.uint8
    assert (found == 201).all()


def test_a_viewport_crops_turns_and_scales(tmp_path: Path) -> None:
    assert drawn(grey(SIXTEEN), tmp_path, viewport=Viewport(4, 4)).tolist() == SIXTEEN.tolist()
    turned = drawn(grey(SIXTEEN), tmp_path, viewport=Viewport(2, 2, 1, 2, -2, -2))
    assert turned.tolist() == SIXTEEN[2:4, 1:3][::-1, ::-1].tolist()
    half = drawn(grey(SIXTEEN), tmp_path, viewport=Viewport(2, 100))
    assert half.tolist() == SIXTEEN.reshape(2, 2, 2, 2).mean(axis=(1, 3)).tolist()


def test_colours_are_scaled_too(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    picture = drawn(colours(values), tmp_path, viewport=Viewport(2, 2))
    assert np.abs(picture - values.reshape(2, 2, 2, 2, 3).mean(axis=(1, 3))).max() <= 0.5


@pytest.mark.parametrize("keyword", ["PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "shared"])
def test_pixels_that_are_not_square_keep_their_shape(tmp_path: Path, keyword: str) -> None:
    dataset = grey(np.zeros((10, 20), np.uint16))
    if keyword == "shared":
        dataset.SharedFunctionalGroupsSequence = [Dataset()]
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [Dataset()]
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [3, 1]
    else:
        setattr(dataset, keyword, ["3", "1"])
    assert drawn(dataset, tmp_path, viewport=Viewport(40, 60)).shape == (60, 40)
    assert drawn(dataset, tmp_path).shape == (10, 20)
