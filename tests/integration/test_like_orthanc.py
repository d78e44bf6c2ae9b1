"""Pictures beside those of a running Orthanc, pixel by pixel."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest

from osteon.dicom.pixels.errors import NotPossible
from osteon.dicom.pixels.render_options import Window
from support.archive.orthanc import OrthancServer, needs_orthanc, running_orthanc
from support.dicom.datasets import saved
from support.dicom.pixels.images import image
from support.dicom.pixels.rendering import drawn, ordered
from support.dicom.real_files import BUNDLED, REAL

pytestmark = [pytest.mark.slow, needs_orthanc]

WIDE = {"window-center": "1000.5", "window-width": "777.7"}
PICTURES = [
    ("preview", {}, {"mode": "preview"}),
    ("image-uint8", {}, {"mode": "uint8"}),
    ("image-uint16", {}, {"mode": "uint16"}),
    ("image-int16", {}, {"mode": "int16"}),
    ("rendered", {}, {"mode": "orthanc"}),
    ("rendered", {"window-center": "40", "window-width": "400"}, {"mode": "orthanc", "window": Window(40, 400)}),
    ("rendered", {"window-center": "40"}, {"mode": "orthanc", "window": Window(40, math.nan)}),
    ("rendered", {"window-width": "350"}, {"mode": "orthanc", "window": Window(math.nan, 350)}),
    ("rendered", {"window-center": "40", "window-width": "0.5"}, {"mode": "orthanc", "window": Window(40, 0.5)}),
    ("rendered", {"window-center": "40", "window-width": "-9"}, {"mode": "orthanc", "window": Window(40, -9)}),
    ("rendered", WIDE, {"mode": "orthanc", "window": Window(1000.5, 777.7)}),
    ("rendered", {"width": "50", "smooth": "1"}, {"mode": "orthanc", "width": 50, "smooth": True}),
    ("rendered", {"height": "301", "width": "900"}, {"mode": "orthanc", "height": 301, "width": 900}),
]
FILES = {
    **{name: BUNDLED / name for name in (
        "CT_small.dcm", "MR_small.dcm", "JPEG-lossy.dcm", "examples_overlay.dcm", "examples_rgb_color.dcm",
        "ExplVR_BigEnd.dcm", "liver_1frame.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm",
        "examples_ybr_color.dcm",
    )},
    **{name: REAL / name for name in ("codecs/REF/CT1_UNC", "codecs/REF/MR4_UNC", "ct/S4010/I10")},
}  # fmt: skip


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    nobody = SimpleNamespace(aet="NOBODY", dicom_port=11112, url="http://127.0.0.1:1")
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), nobody) as running:  # type: ignore[arg-type]
        yield running


def upload(orthanc: OrthancServer, path: Path) -> str:
    return str(orthanc.http.post("/instances", content=path.read_bytes()).raise_for_status().json()["ID"])


def compare(orthanc: OrthancServer, path: Path, folder: Path) -> None:
    """Compare every picture of the first frame."""
    instance = upload(orthanc, path)
    compared = 0
    for uri, parameters, order in PICTURES:
        answer = orthanc.http.get(f"/instances/{instance}/{uri}", params=parameters, headers={"Accept": "image/png"})
        if answer.status_code == 415:
            continue  # What Orthanc cannot draw may be drawn here.
        theirs, ours = imagecodecs.png_decode(answer.content), drawn(path, folder, frames=(1,), **order)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), uri
        assert np.array_equal(ours, theirs), (uri, parameters)
        compared += 1
    assert compared


@pytest.mark.parametrize("name", FILES)
def test_pictures_of_real_images_are_orthancs_to_the_grey_level(
    orthanc: OrthancServer, name: str, tmp_path: Path
) -> None:
    if not FILES[name].exists():
        pytest.skip(f"no real data at {FILES[name]}")
    compare(orthanc, FILES[name], tmp_path)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("allocated", "stored", "signed"), [(8, 8, False), (16, 10, False), (16, 16, False), (16, 12, True), (16, 16, True)]
)
def test_pictures_of_noise_are_orthancs_to_the_grey_level(
    orthanc: OrthancServer, tmp_path: Path, photometric: str, allocated: int, stored: int, signed: bool
) -> None:
    layout = {"allocated": allocated, "stored": stored, "signed": signed, "photometric": photometric}
    dataset = image(rows=61, columns=83, seed=7, **layout, RescaleSlope=1.25, RescaleIntercept=-100)
    compare(orthanc, saved(dataset, tmp_path), tmp_path)


def test_arrays_have_orthancs_shape_and_type(orthanc: OrthancServer, tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "examples_rgb_color.dcm"):
        path = BUNDLED / name
        instance = upload(orthanc, path)
        for uri, order in (
            ("numpy", {}), ("numpy?rescale=0", {"rescale": False}), ("frames/0/numpy", {"frames": (1,)}),
            ("numpy?compress=1", {"compress": True}),
        ):  # fmt: skip
            answer = orthanc.http.get(f"/instances/{instance}/{uri}").raise_for_status().content
            arrays = [np.load(io.BytesIO(data)) for data in (answer, ordered(path, tmp_path, mode="numpy", **order)[1])]
            theirs, ours = (array["arr_0"] if "compress" in uri else array for array in arrays)
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            assert np.array_equal(ours, theirs)


def test_whole_numbers_of_colours_are_refused_by_both(orthanc: OrthancServer, tmp_path: Path) -> None:
    path = BUNDLED / "examples_rgb_color.dcm"
    answer = orthanc.http.get(f"/instances/{upload(orthanc, path)}/image-uint8")
    assert answer.status_code == 415
    with pytest.raises(NotPossible):
        drawn(path, tmp_path, mode="uint8")
