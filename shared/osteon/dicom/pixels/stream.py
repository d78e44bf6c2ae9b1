"""What the first markers of a JPEG, JPEG-LS or JPEG 2000 bit stream say, read before a decoder sees it.

ITU-T T.81 annex B, T.87 annex C, T.800 annex A.
"""

import struct
from dataclasses import dataclass
from typing import Final

from osteon.dicom.pixels.errors import PixelError

_NO_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))
_FRAME_MARKERS: Final = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class StreamHead:
    """Size in pixels, bits of a sample, and what is said about colours.

    Attributes:
        transform: of an Adobe segment (0: none, 1: YCbCr); -1 without one.
        jfif: there is a JFIF segment, whose colours are YCbCr.
        rgb_ids: the components are called R, G and B.
        multi_component: JPEG 2000's component transform was used: the decoder gives RGB.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    transform: int = -1
    jfif: bool = False
    rgb_ids: bool = False
    multi_component: bool = False


def read_jpeg(data: bytes) -> StreamHead:
    """Read up to the frame header; raises `PixelError` when there is none."""
    transform, jfif = -1, False
    position = 2
    if data[:2] != b"\xff\xd8":
        raise PixelError("no JPEG bit stream")
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF or marker in _NO_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = data[position + 4 : position + 2 + length]
        if marker in _FRAME_MARKERS:
            return _frame_header(body, transform, jfif)
        if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            transform = body[11]
        jfif = jfif or (marker == 0xE0 and body[:5] == b"JFIF\0")
        position += 2 + length
    raise PixelError("the JPEG bit stream has no frame header")


def _frame_header(body: bytes, transform: int, jfif: bool) -> StreamHead:
    if len(body) < 6:
        raise PixelError("the JPEG frame header is cut off")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
    return StreamHead(rows, columns, samples, precision, False, transform, jfif, bytes(body[6::3][:3]) == b"RGB")


def read_jpeg_2000(data: bytes) -> StreamHead:
    """Read SIZ and COD of a code stream, raw or in a JP2 box; raises `PixelError` when there is none."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 1 << 16)
    if start < 0 or start + 44 > len(data):
        raise PixelError("no JPEG 2000 code stream")
    _, _, columns, rows, left, top = struct.unpack_from(">HHLLLL", data, start + 4)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    depth = data[start + 42]
    return StreamHead(
        rows - top,
        columns - left,
        samples,
        (depth & 0x7F) + 1,
        bool(depth & 0x80),
        multi_component=_component_transform(data, start + 2),
    )


def _component_transform(data: bytes, position: int) -> bool:
    """Whether COD, which is somewhere behind SIZ in the main header, says so."""
    while position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFF52:
            return position + 8 < len(data) and data[position + 8] == 1
        if marker == 0xFF90 or marker < 0xFF00:
            return False
        position += 2 + length
    return False
