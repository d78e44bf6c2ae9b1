"""Pictures by Orthanc's rules: what Orthanc 1.10.1 answered for the same invented pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import RTDoseStorage

from osteon.dicom.pixels.errors import NotPossible
from osteon.dicom.pixels.render_options import Window
from support.dicom.pixels.rendering import colours, drawn, grey, ordered

RAMP = np.array([[0, 1, 2, 3], [100, 1000, 2000, 4095]], np.uint16)
SIGNED = np.array([[-5, -1, 0, 300], [7, -2000, 70, 32767]], np.int16)
BYTES = np.array([[3, 4, 5, 200]], np.uint8)
SQUARE = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7


def levels(dataset: Dataset, folder: Path, mode: str, **order: object) -> list[int]:
    return drawn(dataset, folder, mode=mode, **order).ravel().tolist()


@pytest.mark.parametrize(("dataset", "wanted"), [
    (grey(RAMP, stored=12), [0, 0, 0, 0, 6, 62, 125, 255]),
    (grey(RAMP, stored=12, photometric="MONOCHROME1"), [255, 255, 255, 255, 249, 193, 130, 0]),
    (grey(RAMP, stored=12, WindowCenter=5, WindowWidth=2), [0, 0, 0, 0, 6, 62, 125, 255]),
    (grey(SIGNED), [15, 15, 15, 17, 15, 0, 15, 255]),
    (grey(BYTES), [0, 1, 3, 255]),
    (grey(np.full((2, 2), 7, np.uint16)), [0] * 4),
    (grey(np.full((2, 2), 7, np.uint16), photometric="MONOCHROME1"), [255] * 4),
    (colours(np.array([[[1, 2, 3], [200, 100, 50]]], np.uint8)), [1, 2, 3, 200, 100, 50]),
], ids=["12 bits", "inverted", "windowed", "signed", "bytes", "flat", "flat inverted", "colours"])  # fmt: skip
def test_previews_stretch_the_range_of_the_frame(tmp_path: Path, dataset: Dataset, wanted: list[int]) -> None:
    assert levels(dataset, tmp_path, "preview") == wanted


@pytest.mark.parametrize(("dataset", "mode", "wanted"), [
    (grey(RAMP), "uint8", [0, 1, 2, 3, 100, 255, 255, 255]),
    (grey(RAMP, photometric="MONOCHROME1"), "uint16", [0, 1, 2, 3, 100, 1000, 2000, 4095]),
    (grey(SIGNED), "uint8", [0, 0, 0, 255, 7, 0, 70, 255]),
    (grey(SIGNED), "uint16", [0, 0, 0, 300, 7, 0, 70, 32767]),
    (grey(SIGNED), "int16", [65531, 65535, 0, 300, 7, 63536, 70, 32767]),
    (grey(np.array([[61441, 4098, 5, 4095]], np.uint16)), "int16", [32767, 4098, 5, 4095]),
    (grey(RAMP, RescaleSlope=2, RescaleIntercept=-1000), "int16", [0, 1, 2, 3, 100, 1000, 2000, 4095]),
    (grey(np.array([[3, 70000]], np.uint32)), "uint16", [3, 65535]),
], ids=["bytes", "words", "bytes of signed", "words of signed", "signed", "signed of words", "rescaled", "32 bits"],
)  # fmt: skip
def test_whole_numbers_are_clamped_and_nothing_else(
    tmp_path: Path, dataset: Dataset, mode: str, wanted: list[int]
) -> None:
    picture = drawn(dataset, tmp_path, mode=mode)
    assert picture.ravel().tolist() == wanted
    assert picture.dtype == (np.uint8 if mode == "uint8" else np.uint16)


def test_whole_numbers_of_colours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPossible, match="RGB frames have colours"):
        ordered(colours(np.zeros((2, 2, 3), np.uint8)), tmp_path, mode="uint16")


TWO_WINDOWS = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": [100, 5], "WindowWidth": [400, 6]}


@pytest.mark.parametrize(("dataset", "window", "wanted"), [
    (grey(RAMP, stored=12), None, [0, 0, 0, 0, 6, 62, 124, 254]),
    (grey(RAMP, stored=12), Window(50, 100), [0, 2, 5, 7, 255, 255, 255, 255]),
    (grey(RAMP, stored=12, photometric="MONOCHROME1"), None, [255, 255, 255, 255, 249, 193, 131, 1]),
    (grey(RAMP, stored=12, photometric="MONOCHROME1"), Window(50, 100), [255, 253, 250, 248, 0, 0, 0, 0]),
    (grey(RAMP, stored=12, RescaleSlope=2, RescaleIntercept=-1000), None, [0, 0, 0, 0, 0, 62, 186, 255]),
    (grey(RAMP, stored=12, **TWO_WINDOWS), None, [0, 0, 0, 0, 0, 255, 255, 255]),
    (grey(SIGNED), None, [0, 0, 0, 1, 0, 0, 0, 127]),
    (grey(SIGNED), Window(50, 100), [0, 0, 0, 255, 17, 0, 178, 255]),
    (grey(BYTES), None, [2, 3, 4, 199]),
    (grey(BYTES), Window(3, 0), [127, 255, 255, 255]),
    (grey(BYTES), Window(3.25, 0.5), [63, 255, 255, 255]),
    (grey(np.array([[705, 704]], np.uint16)), Window(600, 350), [203, 203]),
    (colours(np.array([[[1, 2, 3]]], np.uint8)), Window(50, 100), [1, 2, 3]),
], ids=["no window", "window", "inverted", "inverted window", "rescaled", "first of two", "signed", "signed window",
        "bytes", "no width", "small width", "border of two levels", "colours"])  # fmt: skip
def test_windows_cut_off_fractions(tmp_path: Path, dataset: Dataset, window: Window | None, wanted: list[int]) -> None:
    assert levels(dataset, tmp_path, "orthanc", window=window) == wanted


@pytest.mark.parametrize(("size", "wanted"), [
    ({"width": 4}, [[0, 13, 27, 41], [97, 111, 125, 139], [195, 209, 223, 237]]),
    ({"height": 3}, [[0, 13, 27, 41], [97, 111, 125, 139], [195, 209, 223, 237]]),
    ({"width": 3, "height": 100}, [[55, 69, 83], [153, 167, 181]]),
    ({"width": 20, "height": 4}, [[0, 6, 13, 27, 34, 41], [48, 55, 62, 76, 83, 90], [146, 153, 160, 174, 181, 188],
                                  [195, 202, 209, 223, 230, 237]]),
    ({"width": 4, "smooth": True}, [[20, 31, 45, 56], [99, 111, 125, 136], [179, 190, 204, 216]]),
    ({"width": 1}, [[118]]),
], ids=["width", "height", "the smaller", "larger", "smooth", "one pixel"])  # fmt: skip
def test_other_sizes_take_the_nearest_pixels(tmp_path: Path, size: dict, wanted: list[list[int]]) -> None:
    dataset = grey(SQUARE, WindowCenter=128, WindowWidth=256)
    assert drawn(dataset, tmp_path, mode="orthanc", **size).tolist() == wanted


def test_a_larger_picture_is_not_smoothed(tmp_path: Path) -> None:
    dataset = grey(SQUARE, WindowCenter=128, WindowWidth=256)
    plain = drawn(dataset, tmp_path, mode="orthanc", width=10)
    assert plain.shape == (7, 10)
    assert plain[0].tolist() == [0, 6, 6, 13, 20, 20, 27, 34, 34, 41]
    assert np.array_equal(drawn(dataset, tmp_path, mode="orthanc", width=10, smooth=True), plain)


def test_single_bits_are_0_and_255(tmp_path: Path) -> None:
    dataset = grey(np.zeros((1, 8), np.uint8), allocated=1, stored=1, PixelData=b"\x0f\0")
    for how in ("preview", "uint8", "uint16", "orthanc"):
        assert levels(dataset, tmp_path, how) == [255] * 4 + [0] * 4


def test_a_dose_is_not_rescaled(tmp_path: Path) -> None:
    dataset = grey(np.array([[0, 50, 100, 101]], np.uint16), RescaleSlope=2, WindowCenter=50, WindowWidth=100)
    dataset.RescaleIntercept, dataset.SOPClassUID = 5, RTDoseStorage
    assert levels(dataset, tmp_path, "orthanc") == [0, 127, 255, 255]
    _, data = ordered(dataset, tmp_path, mode="numpy")
    assert np.load(io.BytesIO(data)).ravel().tolist() == [0, 50, 100, 101]
