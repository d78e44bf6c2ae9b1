"""PNG and JPEG pictures → samples as native pixel data has them (PS3.5 8.1.1), for instances that are made of them."""

import struct
from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np

from osteon.dicom.pixels.bitstream_header import read_jpeg
from osteon.dicom.pixels.errors import NotPossible, PixelError

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_SIZE: Final = struct.Struct(">LLB")
_MOST: Final = 65535
"""Rows and Columns are US."""
_BYTE: Final = 8
_COLOURS: Final = 3


@dataclass(frozen=True, slots=True)
class Picture:
    """Samples with `bits` of 8 or 16 each; `samples` is 1 for grey, 3 for RGB."""

    rows: int
    columns: int
    samples: int
    bits: int
    pixels: bytes


def decode_picture(content: bytes, most_bytes: int) -> Picture:
    """Decode a picture of at most `most_bytes`; transparency is left out.

    Raises `PixelError` for a damaged one, and `NotPossible` for other formats, more than 8 bits of a colour and sizes
    beyond the limits.
    """
    if content.startswith(_PNG):
        columns, rows, depth = _SIZE.unpack_from(content.ljust(25, b"\0"), 16)
        decoder = imagecodecs.png_decode
    elif content.startswith(_JPEG):
        head = read_jpeg(content)
        columns, rows, depth = head.columns, head.rows, head.precision
        decoder = imagecodecs.jpeg8_decode
    else:
        raise NotPossible("neither PNG nor JPEG")
    # With transparency a pixel has four samples.
    size = rows * columns * (_COLOURS + 1) * (2 if depth > _BYTE else 1)
    if not 0 < rows <= _MOST or not 0 < columns <= _MOST or size > most_bytes:
        raise NotPossible(f"a picture of {columns} x {rows} pixels: more than the limits of frames allow")
    try:
        array = np.atleast_3d(decoder(content))
    except (RuntimeError, ValueError) as error:
        raise PixelError(f"the picture is damaged: {error}") from None
    array = array[..., : _COLOURS if array.shape[2] >= _COLOURS else 1]
    bits = array.dtype.itemsize * _BYTE
    if bits > _BYTE and array.shape[2] > 1:
        raise NotPossible("colours with more than 8 bits a sample")
    pixels = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return Picture(array.shape[0], array.shape[1], array.shape[2], bits, pixels)
