"""Every file is decoded as pydicom decodes it, every process of JPEG, and words of every number of bits."""

import base64
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.pixels import pixel_array

from osteon.dicom.errors import BadDataSet
from osteon.dicom.pixels.errors import NotPossible, PixelError
from osteon.dicom.pixels.native import Frame
from osteon.dicom.pixels.registry import CODECS
from support.dicom.datasets import saved
from support.dicom.pixels.images import NATIVE, SYNTAX, image, into, wrapped
from support.dicom.pixels.rendering import opened_image
from support.dicom.real_files import BUNDLED, real_folder, storable

WITHOUT_ORACLE = ("JPEG-lossy.dcm", "JPGExtended.dcm")
"""JPEG of 12 bits, which gdcm leaves out."""

ARITHMETIC = {
    "4.52": b"|JeWF01!$>Nk#wx0RR9200961|JwjV009930RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI4"
    b"0RaI40sqMW3kU!R01yEI5di<p00saM5C#9*00;pA002J#{{Z%2W0kYDfpb{(<(RFPlzKM>^@{6lNnHQg",
    "4.56": b"|JeWF01!$>Nk#wx0RR9200961|JwjV009930RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI40RaI4"
    b"0RaI40sqPX3kU!R01yEI5di<p00aOK|Jncu0RaF200I91?7#=G|I7dc5C#9*00;pA009L87I0IAhLeE*%m4%s1^?Or2mt{A20sE94$vRH"
    b"@c+yJ1P}%P+5iXv0RRC%A=Vs<sQ=mk2mt{A000nx|I7dc5C#9*00;pA00BP`QXcVuFH1`Q*#",
}
"""Ramps of 8 x 16 pixels by libjpeg's cjpeg -quality 100 -arithmetic, and -progressive."""


def frames(path: Path) -> list[Frame]:
    with opened_image(path) as opened:
        return [opened.values(opened.cells(number)).frame for number in range(1, opened.geometry.frames + 1)]


def like_pydicom(path: Path) -> None:
    dataset = dcmread(path)
    found = np.stack(frames(path))
    oracle = pixel_array(dataset, raw=True).reshape(found.shape)
    apart = np.abs(oracle.astype("f8") - found.astype("f8")).max()
    assert apart <= (dataset.file_meta.TransferSyntaxUID == SYNTAX + "4.91"), path.name


MORE_THAN_PYDICOM = {"MR_truncated.dcm": "its last 62 bytes are missing", "badVR.dcm": ""}
"""Files that pydicom refuses → what is wrong with their pixels: the last row; Number of Frames is `1A`."""
BUNDLED_IMAGES = [
    path
    for path in storable(BUNDLED)
    if path.name not in {*WITHOUT_ORACLE, *MORE_THAN_PYDICOM} and "PixelData" in dcmread(path)
]


@pytest.mark.parametrize("name", MORE_THAN_PYDICOM)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_bundled_file_is_decoded_as_far_as_it_goes(name: str) -> None:
    path = next(BUNDLED.rglob(name))
    dataset = dcmread(path)
    with opened_image(path) as opened:
        (cells,) = [opened.cells(number).frame for number in range(1, opened.geometry.frames + 1)]
        problems = "; ".join(opened.problems)
    expected = dataset.PixelData.ljust(cells.nbytes, b"\0")
    assert cells.tobytes() == expected[: cells.nbytes]
    assert MORE_THAN_PYDICOM[name] in problems


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", BUNDLED_IMAGES, ids=lambda path: str(path.relative_to(BUNDLED)))
def test_a_bundled_file_is_decoded_as_pydicom_does_or_refused_where_it_does(path: Path) -> None:
    try:
        frames(path)
    except (PixelError, BadDataSet):
        with pytest.raises((ValueError, RuntimeError, AttributeError)):
            pixel_array(path)
    else:
        like_pydicom(path)


@pytest.mark.parametrize("name", WITHOUT_ORACLE)
def test_extended_jpeg_of_twelve_bits_is_decoded(name: str) -> None:
    (frame,) = frames(next(BUNDLED.rglob(name)))
    assert (frame.shape, frame.dtype) == ((1024, 256, 1), np.uint16)
    assert 0 <= frame.min() < frame.max() < 4096


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["J2KI", "J2KR", "JLSL", "JLSN", "JPLL", "JPLY", "RLE", "REF"])
def test_nemas_images_are_decoded_as_pydicom_does(kind: str) -> None:
    paths = sorted((real_folder("codecs") / kind).iterdir())
    assert paths
    for path in paths:
        header = dcmread(path, stop_before_pixels=True)
        if header.file_meta.TransferSyntaxUID != SYNTAX + "4.51" and header.Rows * header.Columns <= 1 << 20:
            like_pydicom(path)


def ramp(stored: int, samples: int = 1) -> Dataset:
    """Return an image that lossy codecs keep well."""
    dataset = image(rows=24, columns=40, samples=samples, allocated=8 if stored == 8 else 16, stored=stored)
    values = np.add.outer(np.arange(24), np.arange(40)) * ((1 << stored) - 1) // 62
    dataset.PixelData = np.repeat(values[..., None], samples, axis=2).astype(f"u{dataset.BitsAllocated // 8}").tobytes()
    return dataset


@pytest.mark.skipif(not shutil.which("dcmcjpeg"), reason="DCMTK's dcmcjpeg is not installed")
@pytest.mark.parametrize(
    ("options", "number", "stored", "samples", "apart"),
    [
        ("+ee", "4.51", 12, 1, 4),
        ("+ee", "4.51", 8, 1, 2),
        ("+es", "4.53", 12, 1, 4),
        ("+es", "4.53", 8, 3, 3),
        ("+ep", "4.55", 12, 1, 4),
        ("+ep", "4.55", 8, 3, 3),
        *((f"+el +sv {predictor}", "4.57", 16, 1, 0) for predictor in range(1, 8)),
        ("+el +sv 6", "4.57", 8, 3, 0),
        ("+el +sv 4 +pt 2", "4.57", 12, 1, 3),
        ("+e1", "4.70", 12, 1, 0),
    ],
)
def test_what_dcmtk_encodes_as_jpeg_is_decoded(
    options: str, number: str, stored: int, samples: int, apart: int, tmp_path: Path
) -> None:
    dataset = ramp(stored, samples)
    path = tmp_path / "made.dcm"
    subprocess.run(["dcmcjpeg", *options.split(), saved(dataset, tmp_path), path], check=True, capture_output=True)
    assert dcmread(path).file_meta.TransferSyntaxUID == SYNTAX + number
    (frame,) = frames(path)
    wanted = dataset.pixel_array.reshape(frame.shape).astype(int)
    if samples == 3 and number != "4.57":
        frame, wanted = frame[..., :1], wanted[..., :1]  # Luminance of grey is grey.
    assert np.abs(frame - wanted).max() <= apart


@pytest.mark.parametrize("number", ARITHMETIC)
def test_jpeg_with_arithmetic_coding_is_decoded(number: str, tmp_path: Path) -> None:
    dataset = image(rows=8, columns=16, allocated=8, stored=8)
    (frame,) = frames(wrapped(dataset, number, [base64.b85decode(ARITHMETIC[number])], tmp_path))
    assert np.array_equal(frame[..., 0], np.add.outer(np.arange(8), np.arange(16)) * 8)


@pytest.mark.parametrize("number", ["4.92", "4.93"])
def test_part_2_of_jpeg_2000_is_decoded_unless_its_transforms_are_used(number: str, tmp_path: Path) -> None:
    dataset = image()
    wanted = dataset.pixel_array
    _, path = into(dataset, SYNTAX + "4.90", tmp_path)
    stream = dcmread(path).PixelData
    (stream,) = [stream[stream.index(b"\xff\x4f\xff\x51") : stream.rindex(b"\xff\xd9") + 2]]
    assert np.array_equal(frames(wrapped(dataset, number, [stream], tmp_path))[0][..., 0], wanted)
    at = stream.index(b"\xff\x90")
    transformed = stream[:at] + b"\xff\x77\x00\x04\x01\x01" + stream[at:]
    with pytest.raises(PixelError, match="part 2"):
        frames(wrapped(dataset, number, [transformed], tmp_path))


def test_video_has_no_decoder(tmp_path: Path) -> None:
    with pytest.raises(NotPossible, match=r"no decoder for transfer syntax 1\.2\.840\.10008\.1\.2\.4\.102"):
        frames(wrapped(image(), "4.102", [b"\0\0\0\1"], tmp_path))
    assert SYNTAX + "4.102" not in CODECS


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), allocated=st.integers(1, 64), signed=st.booleans())
def test_words_of_any_bits_are_read_one_behind_the_other(
    data: st.DataObject, allocated: int, signed: bool, tmp_path: Path
) -> None:
    stored = data.draw(st.integers(1, allocated))
    shift = data.draw(st.integers(0, allocated - stored))
    draw = random.Random(data.draw(st.integers(0, 99)))
    words = [draw.getrandbits(allocated) for _ in range(24)]
    packed = sum(word << allocated * n for n, word in enumerate(words)).to_bytes(24 * 8, "little")
    dataset = image(rows=3, columns=4, frames=2, allocated=8, stored=1)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored + shift - 1
    dataset.PixelRepresentation = int(signed and allocated > 1)
    dataset.PixelData = packed
    dataset["PixelData"].VR = "OB"
    values = [word >> shift & ((1 << stored) - 1) for word in words]
    if dataset.PixelRepresentation:
        values = [value - (1 << stored) * (value >> (stored - 1)) for value in values]
    assert np.stack(frames(saved(dataset, tmp_path))).ravel().tolist() == values


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")])
@pytest.mark.parametrize("target", [NATIVE, SYNTAX + "2", SYNTAX + "1.99"])
def test_floats_are_decoded_from_either_byte_order(keyword: str, kind: str, target: str, tmp_path: Path) -> None:
    dataset = image(frames=2, BitsAllocated=int(kind[1]) * 8)
    values = np.linspace(-1e6, 1e-6, 70, dtype=kind).reshape(2, 7, 5, 1)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    setattr(dataset, keyword, values.tobytes())
    _, path = into(dataset, target, tmp_path)
    found = np.stack(frames(path))
    assert found.dtype == kind
    assert np.array_equal(found, values)
    with pytest.raises(NotPossible, match="floating point pixel data cannot be compressed"):
        into(dataset, SYNTAX + "4.90", tmp_path)


def test_a_lossy_stream_of_more_bits_than_stored_does_not_go_around_at_the_top(tmp_path: Path) -> None:
    dataset = ramp(12)
    dataset.PixelData = np.full(24 * 40, 4095, "u2").tobytes()
    _, path = into(dataset, SYNTAX + "4.90", tmp_path)
    narrow = dcmread(path)
    narrow.BitsStored, narrow.HighBit = 10, 9
    assert frames(saved(narrow, tmp_path))[0].max() == 4095 & 1023
    narrow.LossyImageCompression = "01"
    assert frames(saved(narrow, tmp_path))[0].min() == 1023
