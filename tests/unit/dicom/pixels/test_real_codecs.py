"""NEMA's WG-04 set: what was compressed without loss is bit-identical to the uncompressed image of its name."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from support.dicom.pixels.images import NATIVE, decoded, into
from support.dicom.real_files import real_folder

LOSSLESS = ("RLE", "JPLL", "JLSL", "J2KR")
MOST = {"JPLY": 0.02, "JLSN": 0.01, "J2KI": 0.04}
"""Root mean square error of what was compressed with loss, as part of the image's range."""


def pairs(kind: str) -> list[tuple[Path, Path]]:
    folder = real_folder("codecs")
    found = [(path, folder / "REF" / f"{path.name.split('_')[0]}_UNC") for path in sorted((folder / kind).iterdir())]
    return [
        (path, reference) for path, reference in found if reference.exists() and reference.stat().st_size < 4_000_000
    ]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_images_are_those_of_the_reference(kind: str) -> None:
    assert pairs(kind)
    for path, reference in pairs(kind):
        mask = (1 << dcmread(path, stop_before_pixels=True).BitsStored) - 1
        assert np.array_equal(decoded(path).astype("i8") & mask, decoded(reference).astype("i8") & mask), path.name


@pytest.mark.parametrize("kind", MOST)
def test_lossy_images_are_near_the_reference(kind: str) -> None:
    assert pairs(kind)
    for path, reference in pairs(kind):
        wanted, found = decoded(reference).astype(float), decoded(path).astype(float)
        if dcmread(path, stop_before_pixels=True).SamplesPerPixel == 1:
            error = np.sqrt(np.mean((wanted - found) ** 2)) / max(1.0, np.ptp(wanted))
            assert error <= MOST[kind], f"{path.name}: {error:.4f}"


@pytest.mark.slow
@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.5", *(f"1.2.840.10008.1.2.4.{n}" for n in (70, 80, 90, 201))])
def test_reference_images_go_through_every_lossless_codec(uid: str, tmp_path: Path) -> None:
    for path, _ in pairs("REF"):
        _, there = into(path, uid, tmp_path)
        _, back = into(there, NATIVE, tmp_path)
        assert np.array_equal(decoded(back), decoded(path)), path.name
