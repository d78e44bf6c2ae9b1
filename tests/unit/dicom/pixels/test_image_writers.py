"""The files that pictures become: PNG, JPEG, PAM, GIF and NumPy's."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydicom import Dataset

from osteon.dicom.pixels.errors import NotPossible
from osteon.dicom.pixels.gif import write_gif
from osteon.dicom.pixels.image_writers import encode_image
from osteon.dicom.pixels.render_options import GIF, JPEG, OCTETS, PAM, PNG
from support.dicom.pixels.rendering import colours, drawn, grey, ordered

shapes = array_shapes(min_dims=2, max_dims=2, max_side=40) | st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))
pictures = st.sampled_from([np.uint8, np.uint16]).flatmap(lambda kind: arrays(kind, shapes))


@given(pictures)
def test_a_png_holds_the_picture_exactly(picture: np.ndarray) -> None:
    found = imagecodecs.png_decode(encode_image(picture, PNG, 90))
    assert found.dtype == picture.dtype
    assert np.array_equal(found.reshape(picture.shape), picture)


def test_a_png_has_the_chunks_and_sums_of_the_standard() -> None:
    data = encode_image(np.arange(12, dtype=np.uint16).reshape(3, 4), PNG, 90)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">L", data, position)
        body = data[position + 4 : position + 8 + length]
        assert struct.unpack_from(">L", data, position + 8 + length) == (zlib.crc32(body),)
        found.append((body[:4], body[4:]))
        position += length + 12
    assert [name for name, _ in found] == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">LLBBBBB", found[0][1]) == (4, 3, 16, 0, 0, 0, 0)
    assert len(zlib.decompress(found[1][1])) == 3 * (1 + 4 * 2)


@pytest.mark.parametrize("make", [grey, colours], ids=["grey", "colours"])
def test_a_jpeg_is_close_to_the_picture_and_smaller_with_less_quality(tmp_path: Path, make) -> None:
    steps = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    dataset = make(steps if make is grey else np.stack([steps, steps[::-1], steps.T], axis=2))
    exact = drawn(dataset, tmp_path)
    lengths = []
    for quality in (100, 90, 20):
        done, data = ordered(dataset, tmp_path, media_type=JPEG, quality=quality)
        assert done.media_type == JPEG
        assert np.abs(imagecodecs.jpeg8_decode(data).astype(int) - exact).mean() < 6
        lengths.append(done.length)
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("media_type", [JPEG, GIF])
def test_16_bits_are_refused_where_a_format_has_8(tmp_path: Path, media_type: str) -> None:
    with pytest.raises(NotPossible, match="8 bits, not 16"):
        ordered(grey(np.zeros((2, 2), np.uint16)), tmp_path, mode="uint16", media_type=media_type)


def test_an_unknown_type_of_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPossible, match="image/webp, only of image/png"):
        ordered(grey(np.zeros((2, 2), np.uint16)), tmp_path, media_type="image/webp")


@pytest.mark.parametrize(
    ("picture", "head", "data"),
    [
        (np.array([[1, 2]], np.uint8), b"WIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE", b"\1\2"),
        (np.array([[513]], np.uint16), b"WIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 65535\nTUPLTYPE GRAYSCALE", b"\2\1"),
        (np.array([[[1, 2, 3]]], np.uint8), b"WIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB", b"\1\2\3"),
    ],
    ids=["8 bits", "16 bits", "colours"],
)  # fmt: skip
def test_an_arbitrary_map_is_a_head_and_big_endian_samples(picture: np.ndarray, head: bytes, data: bytes) -> None:
    assert encode_image(picture, PAM, 90) == b"P7\n" + head + b"\nENDHDR\n" + data


def test_a_gif_shows_grey_frames_exactly_one_after_the_other_for_ever(tmp_path: Path) -> None:
    frames = np.arange(3 * 20 * 30, dtype=np.uint8).reshape(3, 20, 30)
    done, data = ordered(grey(frames, FrameTime="125"), tmp_path, media_type=GIF)
    assert done.lengths == (len(data),) and done.media_type == GIF
    assert data[:6] == b"GIF89a" and b"NETSCAPE2.0\x03\x01\0\0\0" in data
    assert data.count(b"\x21\xf9\x04\x00" + struct.pack("<H", 12)) == 3
    found = imagecodecs.gif_decode(data, asrgb=True)
    assert np.array_equal(found[..., 0], frames)


@pytest.mark.parametrize(("attributes", "hundredths"), [
    ({}, 10), ({"FrameTime": "40"}, 4), ({"CineRate": "20"}, 5), ({"RecommendedDisplayFrameRate": "50"}, 2),
    ({"RecommendedDisplayFrameRate": "5", "CineRate": "20"}, 20), ({"FrameTime": "1"}, 2), ({"FrameTime": "0"}, 10),
    ({"CineRate": "0"}, 10), ({"FrameTime": "1e9"}, 65535), ({"FrameTimeVector": ["0", "50"]}, 5),
])  # fmt: skip
def test_a_gif_shows_each_frame_as_long_as_the_file_says(tmp_path: Path, attributes: dict, hundredths: int) -> None:
    dataset = grey(np.zeros((2, 2, 2), np.uint8))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    _, data = ordered(dataset, tmp_path, media_type=GIF)
    assert data.count(b"\x21\xf9\x04\x00" + struct.pack("<H", hundredths)) == 2


def test_a_gif_of_few_colours_has_them_nearly_exactly() -> None:
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (200, 3), np.uint8)
    picture = palette[rng.integers(0, 200, (40, 50))]
    file = io.BytesIO()
    length = write_gif(file, [picture], 100)
    assert length == len(file.getvalue())
    assert np.abs(imagecodecs.gif_decode(file.getvalue(), asrgb=True).squeeze().astype(int) - picture).max() <= 4


def test_a_gif_of_many_colours_is_close_to_them() -> None:
    rows, columns = np.mgrid[0:64, 0:64].astype(np.uint8) * 4
    picture = np.stack([rows, columns, 255 - rows], axis=2)
    file = io.BytesIO()
    write_gif(file, [picture], 100)
    assert np.abs(imagecodecs.gif_decode(file.getvalue(), asrgb=True).squeeze().astype(int) - picture).mean() < 6


def numpy_of(dataset: Dataset, folder: Path, **order: object) -> np.ndarray:
    done, data = ordered(dataset, folder, mode="numpy", **order)
    assert done.media_type == OCTETS and done.lengths == (len(data),)
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if order.get("compress"):
        assert found.files == ["arr_0"]
        return found["arr_0"]
    return found


@pytest.mark.parametrize("compress", [False, True], ids=["npy", "npz"])
def test_numpy_gets_rescaled_floats_of_all_frames_or_of_one(tmp_path: Path, compress: bool) -> None:
    frames = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 5
    dataset = grey(frames, RescaleSlope=2, RescaleIntercept=-1000)
    found = numpy_of(dataset, tmp_path, compress=compress)
    assert (found.shape, found.dtype) == ((2, 3, 4, 1), np.float32)
    assert np.array_equal(found[..., 0], frames * 2.0 - 1000)
    second = numpy_of(dataset, tmp_path, frames=(2,), compress=compress)
    assert (second.shape, second[0, 0, 0]) == ((3, 4, 1), 7 * 2 - 1000)


def test_numpy_gets_stored_values_when_it_asks_for_them(tmp_path: Path) -> None:
    frame = np.array([[-3, 400]], np.int16)
    found = numpy_of(grey(frame, RescaleSlope=2, RescaleIntercept=0), tmp_path, rescale=False)
    assert (found.shape, found.dtype, found.ravel().tolist()) == ((1, 1, 2, 1), np.int16, [-3, 400])


def test_numpy_gets_colours_as_bytes(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = numpy_of(colours(values), tmp_path)
    assert found.dtype == np.uint8 and np.array_equal(found[0], values)


def test_frames_are_native_samples_one_after_the_other(tmp_path: Path) -> None:
    frames = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    done, data = ordered(grey(frames), tmp_path, mode="frames")
    assert (done.media_type, done.lengths, data) == (OCTETS, (24, 24), frames.astype("<u2").tobytes())
    done, data = ordered(grey(frames), tmp_path, mode="frames", frames=(2, 1))
    assert data == frames[::-1].astype("<u2").tobytes()


def test_pictures_of_several_frames_follow_one_another_in_the_order_asked_for(tmp_path: Path) -> None:
    frames = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((3, 2, 2), np.uint8)
    done, data = ordered(grey(frames), tmp_path, frames=(3, 1))
    assert done.length == sum(done.lengths) == len(data)
    parts = data[: done.lengths[0]], data[done.lengths[0] :]
    assert [imagecodecs.png_decode(part)[0, 0] for part in parts] == [2, 0]
