"""Pictures of damaged files: whatever an attribute says, there is a picture or an error of ours."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from osteon.dicom.pixels.geometry import PixelLimits
from osteon.dicom.pixels.render_options import GIF, RenderOptions, Viewport, Window
from osteon.dicom.pixels.rendering import render
from osteon.errors import Invalid
from support.dicom.datasets import saved
from support.dicom.pixels.rendering import grey

pytestmark = pytest.mark.slow

LIMITS = PixelLimits(frame_bytes=1 << 22, frames=1 << 10, inflated_bytes=1 << 24)
ORDERS = [
    RenderOptions(viewport=Viewport(50, 20, 1, 1, -3, -2)),
    RenderOptions(media_type=GIF),
    RenderOptions(mode="preview", frames=(2,)),
    RenderOptions(mode="orthanc", width=7, smooth=True),
    RenderOptions(window=Window(3, 4, "sigmoid")),
    RenderOptions(mode="uint8"),
    RenderOptions(mode="numpy", compress=True),
    RenderOptions(mode="frames"),
]


def lut(*descriptor: int) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", list(descriptor))
    item.add_new(0x00283006, "OW", np.arange(64, dtype="<u2").tobytes())
    return item


def elaborate(seed: int) -> Dataset:
    """Return an image of two frames with everything that drawing looks at."""
    rng = random.Random(seed)
    frames = np.random.default_rng(seed).integers(-50, 50, (2, 9, 11)).astype(np.int16)
    dataset = grey(frames, RescaleSlope="1.5", RescaleIntercept="-10", WindowCenter="4", WindowWidth="9")
    dataset.PixelPaddingValue, dataset.PixelAspectRatio, dataset.FrameTime = 3, ["2", "1"], "40"
    dataset.PresentationLUTShape = rng.choice(["INVERSE", "IDENTITY"])
    if rng.random() < 0.5:
        dataset.VOILUTSequence, dataset.ModalityLUTSequence = [lut(64, 5, 12)], [lut(64, 0, 16)]
    groups = Dataset()
    groups.PixelMeasuresSequence, groups.FrameVOILUTSequence = [Dataset()], [Dataset()]
    groups.PixelMeasuresSequence[0].PixelSpacing = ["0.5", "0.25"]
    groups.FrameVOILUTSequence[0].VOILUTSequence = [lut(64, 0, 8)]
    dataset.SharedFunctionalGroupsSequence = [groups]
    for element, vr, value in (
        (0x10, "US", 9), (0x11, "US", 11), (0x15, "IS", "2"), (0x40, "CS", "G"), (0x50, "SS", [2, -3]), (0x51, "US", 1),
        (0x100, "US", 1), (0x102, "US", 0), (0x3000, "OW", bytes(range(26))),
    ):  # fmt: skip
        dataset.add_new(0x60000000 | element, vr, value)
    return dataset


def draw(path: Path, folder: Path) -> None:
    for order in ORDERS:
        try:
            done = render(path, order, folder / "picture", LIMITS)
        except Invalid:
            continue
        assert done.length == sum(done.lengths) == (folder / "picture").stat().st_size


@pytest.mark.parametrize("seed", range(40))
def test_bytes_of_the_header_that_were_changed_do_no_harm(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = saved(elaborate(seed), tmp_path).read_bytes()
    pixels = whole.rindex(b"\xe0\x7f\x10\x00")
    path = tmp_path / "damaged.dcm"
    for _ in range(6):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(400, pixels + 12)] = rng.choice([0, 1, 2, 0x20, 0x2D, 0x39, 0x5C, 0x7F, 0xFF])
        path.write_bytes(data)
        draw(path, tmp_path)


VALUES = [
    ("RescaleSlope", ["1e308", "-1e308", "1e-320", "nan"]),
    ("RescaleIntercept", ["1e308", "-1e308", "inf"]),
    ("WindowWidth", ["1e308", "1e-320", "-1"]),
    ("WindowCenter", ["1e308", "nan"]),
    ("PixelAspectRatio", [["1", "100000000"], ["100000000", "1"], ["0", "0"]]),
    ("FrameTime", ["1e308", "nan", "-5"]),
    ("PixelPaddingValue", [-32768, 32767]),
    ("BitsStored", [1, 2, 9, 16]),
    ("HighBit", [0, 3, 15]),
    ("PhotometricInterpretation", ["PALETTE COLOR", "RGB", "", "YBR_FULL"]),
    ("NumberOfFrames", ["1", "2"]),
]


@pytest.mark.parametrize(("keyword", "value"), [(k, v) for k, values in VALUES for v in values], ids=str)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_values_that_nobody_expects_do_no_harm(tmp_path: Path, keyword: str, value: Any) -> None:
    for seed in (1, 2, 3):
        dataset = elaborate(seed)
        del dataset.SharedFunctionalGroupsSequence
        setattr(dataset, keyword, value)
        draw(saved(dataset, tmp_path), tmp_path)


@pytest.mark.parametrize(
    "descriptor", [(0, 0, 16), (1, 65535, 8), (64, 0, 0), (64, 0, 17), (65, 0, 16), (64, 32768, 9)]
)
def test_descriptors_of_tables_that_nobody_expects_do_no_harm(tmp_path: Path, descriptor: tuple[int, ...]) -> None:
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        dataset = elaborate(1)
        del dataset.SharedFunctionalGroupsSequence
        setattr(dataset, keyword, [lut(*descriptor)])
        draw(saved(dataset, tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("element", "value"),
    [(0x10, 65535), (0x10, 0), (0x11, 65535), (0x15, "0"), (0x15, "-7"), (0x15, "9999999"), (0x50, [-32768, 32767]),
     (0x50, [32767, -32768]), (0x51, 65535), (0x100, 16), (0x102, 65535), (0x3000, b"")],
    ids=str,
)  # fmt: skip
def test_overlays_that_nobody_expects_do_no_harm(tmp_path: Path, element: int, value: Any) -> None:
    dataset = elaborate(1)
    dataset[0x60000000 | element].value = value
    draw(saved(dataset, tmp_path), tmp_path)
