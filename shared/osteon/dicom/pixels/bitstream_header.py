"""What the first bytes of a JPEG, JPEG-LS, JPEG 2000 or JPEG XL bit stream say, read before a decoder sees it.

ITU-T T.81 annex B, T.87 annex C, T.800 annex A and I, T.801 annex A, ISO/IEC 18181-1 annex A.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from osteon.dicom.pixels.errors import PixelError

_NO_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))
_FRAME_MARKERS: Final = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_PART_2: Final = (0xFF74, 0xFF75, 0xFF77)
"""MCT, MCC, MCO: arrays of component transforms, their collections and order."""
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Columns to rows of a JPEG XL image whose columns are not stated."""


@dataclass(frozen=True, slots=True)
class BitstreamHeader:
    """Size in pixels, bits of a sample, and what the header says about colours.

    Attributes:
        transform: of an Adobe segment (0: none, 1: YCbCr); -1 without one.
        jfif: there is a JFIF segment, whose colours are YCbCr.
        rgb_ids: the components are called R, G and B.
        subsampled: not all components have the resolution of the first.
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
    subsampled: bool = False
    multi_component: bool = False


def read_jpeg(data: bytes) -> BitstreamHeader:
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


def _frame_header(body: bytes, transform: int, jfif: bool) -> BitstreamHeader:
    if len(body) < 6:
        raise PixelError("the JPEG frame header is cut off")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
    return BitstreamHeader(
        rows,
        columns,
        samples,
        precision,
        transform=transform,
        jfif=jfif,
        rgb_ids=bytes(body[6::3][:3]) == b"RGB",
        subsampled=len(set(body[7::3][:samples])) > 1,
    )


def read_jpeg_2000(data: bytes) -> BitstreamHeader:
    """Read the main header of a code stream, raw or in a JP2 file.

    Raises `PixelError` when there is none, or when it uses component transforms of part 2: OpenJPEG would leave them
    out, and give other pixels.
    """
    start = _code_stream(data, b"jP  \r\n\x87\n", b"jp2c")
    if data[start : start + 4] != b"\xff\x4f\xff\x51" or start + 44 > len(data):
        raise PixelError("no JPEG 2000 code stream")
    _, _, columns, rows, left, top = struct.unpack_from(">HHLLLL", data, start + 4)
    *tile, _, _, samples = struct.unpack_from(">LLLLH", data, start + 24)
    depth = data[start + 42]
    steps = data[start + 43 : start + 42 + 3 * samples : 3] + data[start + 44 : start + 42 + 3 * samples : 3]
    # Decoders divide by both.
    if not all(tile) or any(step != 1 for step in steps):
        raise PixelError("the JPEG 2000 code stream has tiles without pixels, or samples at a lower resolution")
    markers = dict(_main_header(data, start + 2))
    if any(marker in markers for marker in _PART_2):
        raise PixelError("the JPEG 2000 code stream uses component transforms of part 2")
    coding = markers.get(0xFF52, b"")
    return BitstreamHeader(
        rows - top,
        columns - left,
        samples,
        (depth & 0x7F) + 1,
        bool(depth & 0x80),
        multi_component=len(coding) > 4 and coding[4] == 1,
    )


def _main_header(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """Give marker segments up to the first tile-part."""
    while position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFF90 or marker < 0xFF00:
            return
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + length


def _code_stream(data: bytes, signature: bytes, box: bytes) -> int:
    """Return where the code stream begins: at once, or in a box of that type (ISO base media: length, type)."""
    position = 0
    if data[4 : 4 + len(signature)] != signature:
        return position
    while position + 16 <= len(data):
        length, found = struct.unpack_from(">L4s", data, position)
        size = 16 if length == 1 else 8
        if found == box:
            return position + size
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if length < size:
            break
        position += length
    raise PixelError(f"no box {box.decode()!r}")


def read_jpeg_xl(data: bytes) -> tuple[int, int]:
    """Return rows and columns of a code stream, raw or in a container (ISO/IEC 18181-1 A.3, 18181-2 9)."""
    if data[4:8] == b"JXL " and (part := data.find(b"jxlp", 0, 1 << 12)) > 0:
        start = part + 8
    else:
        start = _code_stream(data, b"JXL \r\n\x87\n", b"jxlc")
    if data[start : start + 2] != b"\xff\x0a":
        raise PixelError("no JPEG XL code stream")
    bits = _Bits(int.from_bytes(data[start + 2 : start + 16], "little"))
    small = bits.take(1)
    rows = (bits.take(5) + 1) * 8 if small else bits.size()
    ratio = bits.take(3)
    if ratio:
        above, below = _RATIOS[ratio - 1]
        return rows, rows * above // below
    return rows, (bits.take(5) + 1) * 8 if small else bits.size()


class _Bits:
    """Takes bits of a JPEG XL header, the lowest first."""

    def __init__(self, number: int) -> None:
        self._number = number

    def take(self, count: int) -> int:
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        return value

    def size(self) -> int:
        return self.take((9, 13, 18, 30)[self.take(2)]) + 1
