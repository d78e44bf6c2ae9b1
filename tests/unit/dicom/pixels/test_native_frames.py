"""Frames without compression are what the attributes say: byte order, sign, colours and the order of their samples."""

import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels import pixel_array

from osteon.dicom.pixels.errors import NotPossible
from osteon.dicom.uids import GE_BIG_ENDIAN_PIXELS
from support.dicom.datasets import saved
from support.dicom.pixels.images import NATIVE, SYNTAX, image, in_ge_syntax, into, wrapped
from support.dicom.pixels.rendering import colours, drawn, opened_image

RED = np.full((16, 16, 3), (200, 20, 40), np.uint8)
RED[8:] = (10, 120, 60)


def native(source: Dataset | Path, folder: Path, number: int = 1) -> bytes:
    """Return a frame as `application/octet-stream`."""
    with opened_image(saved(source, folder) if isinstance(source, Dataset) else source) as opened:
        return opened.native(number)


def ycbcr(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the formulas of PS3.3 C.7.6.3.1.2."""
    shares = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.rint(rgb @ shares.T + (0, 128, 128)).clip(0, 255).astype(np.uint8)


def rgb_of(ybr: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the inverse of these formulas."""
    y, cb, cr = (ybr[..., n].astype(float) - (128 if n else 0) for n in range(3))
    return np.stack([y + 1.402 * cr, y - 0.3441 * cb - 0.7141 * cr, y + 1.772 * cb], axis=-1)


def seen_by_label(data: bytes, attributes: Dataset) -> NDArray[np.float64]:
    """Return the colours for a client that has the attributes and the bytes.

    YBR_FULL is converted, planes are where Planar Configuration says so, and three whole samples under the name of a
    transform or of a subsampling are RGB: so do OHIF's loader (by label and length) and the standard, for which a frame
    of such a name is never at full resolution without compression (PS3.5 8.2).
    """
    label, size = attributes.PhotometricInterpretation, (attributes.Rows, attributes.Columns)
    values = np.frombuffer(data, np.uint8)
    if label.endswith("_422") and len(data) == 2 * size[0] * size[1]:
        pairs = values.reshape(-1, 4)
        whole = np.stack([pairs[:, [0, 2, 3]], pairs[:, [1, 2, 3]]], axis=1)
        return rgb_of(whole.reshape(*size, 3))
    planes = attributes.PlanarConfiguration == 1 and label in ("RGB", "YBR_FULL")
    samples = values.reshape(3, *size).transpose(1, 2, 0) if planes else values.reshape(*size, 3)
    return rgb_of(samples) if label == "YBR_FULL" else samples.astype(float)


def near(found: NDArray[np.float64], wanted: NDArray[np.uint8]) -> bool:
    """Whether colours are the same but for the rows where one becomes another, which subsampling mixes."""
    apart = np.abs(found - wanted)
    return bool(apart[:6].max() <= 6 and apart[10:].max() <= 6)


def jpeg(
    values: NDArray[np.uint8] = RED, *, space: str = "ycbcr", subsampling: str = "444", bare: bool = False
) -> bytes:
    """Return a JPEG stream; `bare`: without the segment that says what its colours are."""
    data = bytes(imagecodecs.jpeg8_encode(RED, 98, colorspace="rgb", outcolorspace=space, subsampling=subsampling))
    if bare:
        assert data[2] == 0xFF and data[3] in (0xE0, 0xEE)
        data = data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]
    return data


STREAMS = {
    "JFIF": ("4.50", jpeg),
    "JFIF, subsampled": ("4.50", lambda: jpeg(subsampling="420")),
    "no marker, subsampled": ("4.50", lambda: jpeg(subsampling="422", bare=True)),
    "Adobe RGB": ("4.50", lambda: jpeg(space="rgb")),
    "JPEG 2000, transformed": ("4.90", lambda: imagecodecs.jpeg2k_encode(RED, codecformat="j2k", mct=True)),
    "HTJ2K, transformed": ("4.201", lambda: imagecodecs.htj2k_encode(RED, reversible=True, rgb=True)),
}


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"])
@pytest.mark.parametrize("kind", STREAMS)
def test_who_applies_the_label_to_a_decoded_frame_sees_its_colours(
    kind: str, label: str, planar: int, tmp_path: Path
) -> None:
    number, stream = STREAMS[kind]
    path = wrapped(colours(RED, photometric=label, planar=planar), number, [bytes(stream())], tmp_path)
    assert near(seen_by_label(native(path, tmp_path), dcmread(path)), RED)
    assert near(drawn(path, tmp_path).astype(float), RED)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_a_file_that_is_decoded_says_rgb_and_has_it_pixel_by_pixel(kind: str, label: str, tmp_path: Path) -> None:
    number, stream = STREAMS[kind]
    path = wrapped(colours(RED, photometric=label, planar=1), number, [bytes(stream())], tmp_path)
    for target in (NATIVE, SYNTAX + "5", SYNTAX + "4.80"):
        _, made = into(path, target, tmp_path)
        found = dcmread(made)
        assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("RGB", 0)
        assert near(pixel_array(made).astype(float), RED)


def test_the_file_that_dcmtk_decodes_has_the_same_colours(tmp_path: Path) -> None:
    path = wrapped(colours(RED, photometric="YBR_FULL_422"), "4.50", [jpeg()], tmp_path)
    dcmdjpeg = shutil.which("dcmdjpeg")
    if dcmdjpeg is None:
        pytest.skip("DCMTK's dcmdjpeg is not installed")
    subprocess.run([dcmdjpeg, path, tmp_path / "judge.dcm"], check=True, capture_output=True)
    _, made = into(path, NATIVE, tmp_path)
    judge, found = dcmread(tmp_path / "judge.dcm"), dcmread(made)
    assert judge.PhotometricInterpretation == found.PhotometricInterpretation == "RGB"
    assert np.abs(judge.pixel_array.astype(int) - found.pixel_array).max() <= 2


@pytest.mark.parametrize("number", ["5", "4.80", "4.70", "4.90"])
@pytest.mark.parametrize(("label", "planar"), [("RGB", 0), ("RGB", 1), ("YBR_FULL", 0), ("YBR_FULL", 1)])
def test_lossless_colours_stay_what_they_are_in_the_order_that_the_attributes_say(
    number: str, label: str, planar: int, tmp_path: Path
) -> None:
    dataset = image(rows=6, columns=5, samples=3, allocated=8, stored=8, planar=planar, photometric=label)
    _, path = into(dataset, SYNTAX + number, tmp_path)
    header = dcmread(path)
    header.PlanarConfiguration = planar
    if label == "RGB":
        header.PhotometricInterpretation = "RGB"
    assert native(saved(header, tmp_path), tmp_path) == dataset.PixelData


def test_subsampled_frames_come_as_they_are_and_in_full_when_they_were_compressed(tmp_path: Path) -> None:
    dataset = colours(RED, photometric="YBR_FULL_422")
    whole = ycbcr(RED)
    pairs = whole.reshape(-1, 2, 3)
    dataset.PixelData = np.concatenate([pairs[:, :, 0], pairs[:, 0, 1:]], axis=1).tobytes()
    for target in (NATIVE, SYNTAX + "2"):
        _, path = into(dataset, target, tmp_path)
        assert native(path, tmp_path) == dataset.PixelData
    _, path = into(dataset, SYNTAX + "5", tmp_path)
    header = dcmread(path)
    assert native(path, tmp_path) == whole.tobytes()
    header.PhotometricInterpretation = "YBR_FULL_422"
    path = saved(header, tmp_path)
    assert near(seen_by_label(native(path, tmp_path), header), RED)


def test_colours_that_are_only_called_subsampled_come_in_rgb(tmp_path: Path) -> None:
    path = saved(colours(RED, photometric="YBR_FULL_422", PixelData=ycbcr(RED).tobytes()), tmp_path)
    assert near(seen_by_label(native(path, tmp_path), dcmread(path)), RED)


def test_colours_of_more_than_8_bits_keep_their_depth(tmp_path: Path) -> None:
    values = np.full((4, 4, 3), (4000, 100, 900), np.uint16)
    dataset = colours(values, stored=12, photometric="YBR_FULL")
    path = wrapped(
        dataset, "4.90", [imagecodecs.jpeg2k_encode(values, codecformat="j2k", mct=True, bitspersample=12)], tmp_path
    )
    found = np.frombuffer(native(path, tmp_path), np.uint16).reshape(4, 4, 3).astype(float)
    y, cb, cr = found[0, 0, 0], found[0, 0, 1] - 2048, found[0, 0, 2] - 2048
    assert np.abs(np.array([y + 1.402 * cr, y - 0.3441 * cb - 0.7141 * cr, y + 1.772 * cb]) - values[0, 0]).max() <= 3


@pytest.mark.parametrize("allocated", [8, 16, 32])
def test_the_words_of_ges_private_syntax_are_swapped_in_all_that_leaves(allocated: int, tmp_path: Path) -> None:
    dataset = image(rows=6, columns=4, frames=2, allocated=allocated, stored=allocated)
    wanted = dataset.PixelData
    dataset.PixelData = np.frombuffer(wanted, "u2").byteswap().tobytes()
    path = in_ge_syntax(dataset, tmp_path)
    assert native(path, tmp_path) + native(path, tmp_path, 2) == wanted
    for target in (NATIVE, SYNTAX[:-1], SYNTAX + "1.99", SYNTAX + "5"):
        _, made = into(path, target, tmp_path)
        assert np.array_equal(dcmread(made).pixel_array.ravel(), np.frombuffer(wanted, f"u{allocated // 8}")), target
    with pytest.raises(NotPossible, match="there is no encoder"):
        into(dataset, GE_BIG_ENDIAN_PIXELS, tmp_path)


@pytest.mark.skipif(not shutil.which("dcmconv"), reason="DCMTK's dcmconv is not installed")
@pytest.mark.parametrize("allocated", [8, 16, 32])
def test_dcmtk_reads_the_same_values_in_ges_private_syntax(allocated: int, tmp_path: Path) -> None:
    path = in_ge_syntax(image(rows=6, columns=4, allocated=allocated, stored=allocated), tmp_path)
    subprocess.run(["dcmconv", "+te", path, tmp_path / "judge.dcm"], check=True)
    assert native(path, tmp_path) == dcmread(tmp_path / "judge.dcm").PixelData


VALUES = np.array([[-1, -2048, 2047, 5]], np.int16)
MASKED = VALUES.view(np.uint16) & 0xFFF


def streams_of_signed_values() -> dict[str, tuple[str, bytes]]:
    """Return streams of 12 bits in 16, whose sign stands in the highest one only, or in all above it."""
    wavelet = {"codecformat": "j2k", "reversible": True, "bitspersample": 12}
    process = {"lossless": True, "predictor": 1}
    return {
        "JPEG-LS": ("4.80", imagecodecs.jpegls_encode(MASKED)),
        "JPEG-LS, extended": ("4.80", imagecodecs.jpegls_encode(VALUES.view(np.uint16))),
        "JPEG 2000, signed": ("4.90", imagecodecs.jpeg2k_encode(VALUES, **wavelet)),
        "JPEG 2000, unsigned": ("4.90", imagecodecs.jpeg2k_encode(MASKED, **wavelet)),
        "JPEG lossless": ("4.70", imagecodecs.jpeg8_encode(MASKED, bitspersample=12, **process)),
        "JPEG lossless, 16 bits": ("4.70", imagecodecs.jpeg8_encode(MASKED, bitspersample=16, **process)),
        "HTJ2K, signed": ("4.201", imagecodecs.htj2k_encode(VALUES, reversible=True)),
        "HTJ2K, unsigned": ("4.201", imagecodecs.htj2k_encode(MASKED, reversible=True)),
    }


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("kind", streams_of_signed_values())
def test_decoded_values_have_the_sign_that_the_attributes_give_them(kind: str, signed: bool, tmp_path: Path) -> None:
    number, stream = streams_of_signed_values()[kind]
    path = wrapped(image(rows=1, columns=4, signed=signed), number, [bytes(stream)], tmp_path)
    found = np.frombuffer(native(path, tmp_path), np.int16 if signed else np.uint16)
    if signed:
        assert found.tolist() == VALUES[0].tolist()
        _, made = into(path, NATIVE, tmp_path)
        assert dcmread(made).pixel_array.ravel().tolist() == VALUES[0].tolist()
    else:
        assert (found & 0xFFF).tolist() == MASKED[0].tolist()


@pytest.mark.parametrize("number", ["5", "4.110"])
def test_words_without_their_sign_get_it_in_rle_and_jpeg_xl(number: str, tmp_path: Path) -> None:
    dataset = image(rows=1, columns=4, PixelData=MASKED.tobytes())
    _, path = into(dataset, SYNTAX + number, tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x28\x00\x03\x01US\x02\x00") + 8] = 1
    path.write_bytes(data)
    assert np.frombuffer(native(path, tmp_path), np.int16).tolist() == VALUES[0].tolist()


def test_what_else_is_in_the_bits_above_those_stored_stays_there(tmp_path: Path) -> None:
    words = np.array([[0x8FFF, 0x0800, 0x07FF, 5]], np.uint16)
    path = wrapped(image(rows=1, columns=4, signed=True), "4.80", [imagecodecs.jpegls_encode(words)], tmp_path)
    assert native(path, tmp_path) == words.tobytes()
