"""Writes pictures as PNG (RFC 2083), JPEG and PAM; (rows, columns) or (rows, columns, 3) of uint8 or uint16."""

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import imagecodecs
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from osteon.dicom.pixels.errors import NotPossible
from osteon.dicom.pixels.render_options import JPEG, PAM, PNG

Pixels = NDArray[Any]

_UP: Final = 2
"""The PNG filter that keeps the difference to the pixel above: as small as any other here, and the quickest."""
_LONGEST_JPEG: Final = 65500


def encode_image(picture: Pixels, media_type: str, quality: int) -> bytes:
    """Return a picture as a file; `quality` is JPEG's, 1 to 100. Raises `NotPossible` when the format has no such."""
    encoder = _ENCODERS.get(media_type)
    if encoder is None:
        raise NotPossible(f"there are no pictures of type {media_type}, only of {', '.join(_ENCODERS)}")
    return encoder(picture, quality)


def _png(picture: Pixels, _: int) -> bytes:
    rows, columns = picture.shape[:2]
    octets = picture.astype(picture.dtype.newbyteorder(">"), copy=False)
    lines = np.ascontiguousarray(octets).view(np.uint8).reshape(rows, -1)
    filtered = np.empty((rows, lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    colour_type = 2 if picture.ndim == 3 else 0
    head = struct.pack(">LLBBBBB", columns, rows, 8 * picture.itemsize, colour_type, 0, 0, 0)
    # ISA-L's level 1 is as small as zlib's, in a quarter of its time.
    data = isal_zlib.compress(filtered, 1)
    return b"".join((b"\x89PNG\r\n\x1a\n", *_chunk(b"IHDR", head), *_chunk(b"IDAT", data), *_chunk(b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> tuple[bytes, ...]:
    return struct.pack(">L", len(data)), name, data, struct.pack(">L", zlib.crc32(data, zlib.crc32(name)))


def _jpeg(picture: Pixels, quality: int) -> bytes:
    if picture.dtype != np.uint8:
        raise NotPossible("a JPEG picture has 8 bits, not 16: ask for image/png")
    if max(picture.shape) > _LONGEST_JPEG:
        raise NotPossible(f"a JPEG picture has at most {_LONGEST_JPEG} pixels in each direction: ask for image/png")
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(picture), quality))


def _pam(picture: Pixels, _: int) -> bytes:
    """Write Netpbm's arbitrary map, samples of 16 bits in big endian."""
    rows, columns = picture.shape[:2]
    depth, name = (3, "RGB") if picture.ndim == 3 else (1, "GRAYSCALE")
    most = np.iinfo(picture.dtype).max
    head = f"P7\nWIDTH {columns}\nHEIGHT {rows}\nDEPTH {depth}\nMAXVAL {most}\nTUPLTYPE {name}\nENDHDR\n"
    return head.encode() + picture.astype(picture.dtype.newbyteorder(">"), copy=False).tobytes()


_ENCODERS: Final[dict[str, Callable[[Pixels, int], bytes]]] = {PNG: _png, JPEG: _jpeg, PAM: _pam}
