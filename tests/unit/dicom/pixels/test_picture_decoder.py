"""Pictures that instances are made of."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest

from osteon.dicom.pixels.errors import NotPossible, PixelError
from osteon.dicom.pixels.picture_decoder import decode_picture

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
RGB = np.stack([GREY, GREY + 50, GREY + 100], -1)
LIMIT = 1 << 20


@pytest.mark.parametrize(
    ("array", "layout"),
    [(GREY, (3, 4, 1, 8)), (GREY.astype(np.uint16) * 257, (3, 4, 1, 16)), (RGB, (3, 4, 3, 8))],
)
def test_a_png_gives_its_samples_in_little_endian(array: np.ndarray, layout: tuple[int, ...]) -> None:
    made = decode_picture(imagecodecs.png_encode(array), LIMIT)
    assert (made.rows, made.columns, made.samples, made.bits) == layout
    assert made.pixels == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_transparency_is_left_out() -> None:
    transparent = np.concatenate([RGB, RGB[..., :1]], -1)
    assert decode_picture(imagecodecs.png_encode(transparent), LIMIT).pixels == RGB.tobytes()


def test_a_jpeg_is_decoded() -> None:
    made = decode_picture(imagecodecs.jpeg_encode(np.full((8, 8, 3), 200, np.uint8)), LIMIT)
    assert (made.rows, made.columns, made.samples, made.bits) == (8, 8, 3, 8)
    assert set(made.pixels) <= set(range(197, 204))


def enormous() -> bytes:
    """A PNG that says that it is enormous."""
    head = struct.pack(">LLBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">L", 13) + chunk + struct.pack(">L", zlib.crc32(chunk))


@pytest.mark.parametrize("content", [b"", b"GIF89a", enormous(), imagecodecs.png_encode(RGB.astype(np.uint16))])
def test_what_cannot_become_pixel_data_is_refused(content: bytes) -> None:
    with pytest.raises(NotPossible):
        decode_picture(content, LIMIT)


@pytest.mark.parametrize("content", [imagecodecs.png_encode(RGB), imagecodecs.jpeg_encode(RGB)])
def test_a_damaged_picture_is_refused_wherever_it_ends(content: bytes) -> None:
    for length in range(2, len(content) - 20, 7):
        with pytest.raises((PixelError, NotPossible)):
            decode_picture(content[:length], LIMIT)
