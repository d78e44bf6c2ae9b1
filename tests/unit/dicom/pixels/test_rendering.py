"""From a file to pictures: every kind of colour, every real file, and what is no image."""

import tracemalloc
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage, generate_uid

from osteon.dicom.pixels.errors import NoSuchFrame, NotAnImage, NotPossible, PixelError
from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.render_options import GIF, JPEG, RenderOptions, Viewport, Window
from osteon.dicom.pixels.rendering import render
from osteon.errors import Invalid
from support.dicom.datasets import ct_slice, saved
from support.dicom.pixels.images import wrapped
from support.dicom.pixels.rendering import colours, drawn, grey, ordered
from support.dicom.real_files import BUNDLED, real_folder

RED = np.array([[[200, 10, 30], [0, 0, 0]], [[255, 255, 255], [90, 90, 90]]], np.uint8)


def ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Return the formulas of PS3.3 C.7.6.3.1.2."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.168736 * r - 0.331264 * g + 0.5 * b + 128
    cr = 0.5 * r - 0.418688 * g - 0.081312 * b + 128
    return np.rint(np.stack([y, cb, cr], axis=2)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("mode", ["rendered", "preview", "orthanc"])
def test_rgb_is_drawn_as_it_is(tmp_path: Path, mode: str) -> None:
    assert np.array_equal(drawn(colours(RED), tmp_path, mode=mode), RED)
    planes = colours(RED, planar=1, PixelData=RED.transpose(2, 0, 1).tobytes())
    assert np.array_equal(drawn(planes, tmp_path, mode=mode), RED)


def test_ybr_full_becomes_rgb(tmp_path: Path) -> None:
    found = drawn(colours(ycbcr(RED), photometric="YBR_FULL"), tmp_path)
    assert np.abs(found.astype(int) - RED).max() <= 2


def test_ybr_full_422_becomes_rgb(tmp_path: Path) -> None:
    pair = np.repeat(RED[:, :1], 2, axis=1)
    luminance, blue, red = (ycbcr(pair)[..., i] for i in range(3))
    data = np.stack([luminance[:, 0], luminance[:, 1], blue[:, 0], red[:, 0]], axis=1).tobytes()
    found = drawn(colours(pair, photometric="YBR_FULL_422", PixelData=data), tmp_path)
    assert np.abs(found.astype(int) - pair).max() <= 2


def test_colours_of_16_bits_become_8(tmp_path: Path) -> None:
    assert np.array_equal(drawn(colours(RED.astype(np.uint16) * 257), tmp_path), RED)


def test_a_palette_gives_the_colours(tmp_path: Path) -> None:
    dataset = grey(np.array([[10, 11, 12, 99]], np.uint8), photometric="PALETTE COLOR")
    for name, entries in (("Red", [0, 255, 40]), ("Green", [1, 2, 3]), ("Blue", [9, 9, 200])):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [3, 10, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", (np.array(entries, "<u2") << 8).tobytes())
    assert drawn(dataset, tmp_path).tolist() == [[[0, 1, 9], [255, 2, 9], [40, 3, 200], [40, 3, 200]]]
    assert drawn(dataset, tmp_path, mode="preview").shape == (1, 4, 3)


@pytest.mark.parametrize("presentation", ["COLOR", "MIXED", "MONOCHROME"])
def test_a_supplemental_palette_colours_the_values_from_its_first_on(tmp_path: Path, presentation: str) -> None:
    dataset = grey(np.array([[0, 50, 100, 101, 200]], np.uint16), WindowCenter=50.5, WindowWidth=101)
    dataset.PixelPresentation = presentation
    for name, entries in (("Red", [9, 8]), ("Green", [0, 100]), ("Blue", [0, 200])):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [2, 100, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", (np.array(entries, "<u2") << 8).tobytes())
    found = drawn(dataset, tmp_path)
    if presentation == "MONOCHROME":
        assert found.tolist() == [[0, 128, 255, 255, 255]]
    else:
        assert found.tolist() == [[[0] * 3, [128] * 3, [9, 0, 0], [8, 100, 200], [8, 100, 200]]]


def test_a_window_does_not_change_colours(tmp_path: Path) -> None:
    assert np.array_equal(drawn(colours(RED), tmp_path, window=Window(10, 20)), RED)


def test_jpeg_frames_are_drawn_in_their_colours(tmp_path: Path) -> None:
    rgb = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    dataset = colours(rgb, photometric="YBR_FULL_422")
    path = wrapped(dataset, "4.50", [imagecodecs.jpeg8_encode(rgb, 95)], tmp_path)
    assert np.abs(drawn(path, tmp_path).astype(int) - rgb).max() <= 4


def test_a_frame_in_the_middle_is_drawn_without_those_before_it(tmp_path: Path) -> None:
    frames = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((5, 4, 4), np.uint8)
    path, begun = saved(grey(frames), tmp_path), []
    order = RenderOptions(frames=(4,))
    render(path, order, tmp_path / "picture", PixelLimits(), before_frame=lambda: begun.append(1))
    assert len(begun) == 1
    assert (imagecodecs.png_decode((tmp_path / "picture").read_bytes()) == 3).all()


@pytest.mark.parametrize("number", [0, -1, 3])
def test_a_frame_that_is_not_there_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(NoSuchFrame, match=f"no frame {number}: the image has 2"):
        ordered(grey(np.zeros((2, 2, 2), np.uint8)), tmp_path, frames=(1, number))


def without_pixels(**attributes: object) -> Dataset:
    dataset = ct_slice(**attributes)
    del dataset.PixelData
    return dataset


def test_what_has_no_pixels_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    document = without_pixels(SOPClassUID=EncapsulatedPDFStorage, EncapsulatedDocument=b"%PDF")
    with pytest.raises(NotAnImage, match="Encapsulated PDF Storage without pixel data"):
        ordered(document, tmp_path)
    unknown = without_pixels(SOPClassUID=generate_uid())
    with pytest.raises(NotAnImage, match=f"{unknown.SOPClassUID} without pixel data"):
        ordered(unknown, tmp_path, mode="numpy")


def test_video_is_refused_by_the_name_of_its_transfer_syntax(tmp_path: Path) -> None:
    path = wrapped(colours(RED), "4.102", [b"\0\0\0\1" * 8], tmp_path)
    with pytest.raises(NotAnImage, match=r"video: MPEG-4 AVC/H.264 High Profile / Level 4.1"):
        ordered(path, tmp_path)


def test_a_frame_larger_than_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = saved(grey(np.zeros((20, 20), np.uint16)), tmp_path)
    with pytest.raises(PixelError, match="800 bytes is larger than the limit of 700"):
        render(path, RenderOptions(), tmp_path / "picture", PixelLimits(frame_bytes=700))


@pytest.mark.parametrize("attribute", ["Rows", "Columns"])
def test_a_missing_attribute_is_an_error_which_names_it(tmp_path: Path, attribute: str) -> None:
    dataset = grey(np.zeros((2, 2), np.uint16))
    delattr(dataset, attribute)
    with pytest.raises(PixelError, match="is missing"):
        ordered(dataset, tmp_path)


def test_a_photometric_interpretation_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPossible, match="CMYK"):
        ordered(colours(RED, photometric="CMYK"), tmp_path)


def draw_all(folder: Path, tmp_path: Path, **order: object) -> tuple[int, list[str]]:
    """Return how many files below `folder` were drawn, and why others were not."""
    count, reasons = 0, []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                done, data = ordered(path, tmp_path, **order)
            except Invalid as error:
                reasons.append(f"{path.name}: {type(error).__name__}: {error}")
            else:
                assert done.length == len(data) > 0
                count += 1
    return count, reasons


def test_files_that_pydicom_brings_are_drawn_or_refused_with_a_reason(tmp_path: Path) -> None:
    count, reasons = draw_all(BUNDLED, tmp_path, frames=(1,), viewport=Viewport(64, 64))
    assert count >= 90, reasons


@pytest.mark.slow
@pytest.mark.parametrize("order", [{}, {"mode": "preview"}, {"media_type": JPEG}, {"media_type": GIF}], ids=str)
def test_every_real_image_is_drawn(tmp_path: Path, order: dict) -> None:
    count, reasons = draw_all(real_folder("derived"), tmp_path, **order)
    assert count > 40
    assert all("NotAnImage" in reason or "BadPart10" in reason for reason in reasons), reasons


@pytest.mark.parametrize(
    "order",
    [{}, {"media_type": GIF}, {"mode": "numpy"}, {"mode": "numpy", "compress": True}, {"mode": "frames"}],
    ids=str,
)
def test_one_frame_is_in_memory_at_a_time(tmp_path: Path, order: dict) -> None:
    def peak(frames: int) -> int:
        values = np.random.default_rng(1).integers(0, 4096, (frames, 128, 128), np.uint16)
        path = saved(grey(values), tmp_path)
        tracemalloc.start()
        try:
            render(path, RenderOptions(**order), tmp_path / "picture", PixelLimits())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is imported on first use does not count
    assert peak(24) < peak(2) + 2 * 128 * 128 * 2
