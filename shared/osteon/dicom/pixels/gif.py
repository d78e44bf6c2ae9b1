"""Writes pictures as an animated GIF (GIF89a), one picture in memory at a time, each with its own 256 colours."""

import heapq
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO, Final, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes, readable
from osteon.dicom.pixels.errors import NotPossible

_RECOMMENDED_RATE: Final = 0x00082144
_CINE_RATE: Final = 0x00180040
_FRAME_TIME: Final = 0x00181063
_FRAME_TIMES: Final = 0x00181065
_DEFAULT_TIME: Final = 100.0
_COLOURS: Final = 256
_BITS: Final = 6
"""Of each colour when colours are chosen."""
_GREYS: Final = np.repeat(np.arange(_COLOURS, dtype=np.uint8)[:, None], 3, axis=1)
_FOREVER: Final = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"

Pixels = NDArray[Any]
Picture = NDArray[np.uint8]


def frame_time(attributes: Attributes) -> float:
    """Return for how many milliseconds a frame is to be shown, the mean where they differ (PS3.3 C.7.6.5)."""
    steps = (readable(attributes.numbers, _FRAME_TIMES) or ())[1:]
    time = readable(attributes.number, _FRAME_TIME) or (sum(steps) / len(steps) if steps else None)
    for rate in () if time else (readable(attributes.number, tag) for tag in (_RECOMMENDED_RATE, _CINE_RATE)):
        time = time or (1000 / rate if rate and rate > 0 else None)
    return time if time and 0 < time < float("inf") else _DEFAULT_TIME


def write_gif(file: BinaryIO, pictures: Iterable[Picture], milliseconds: float) -> int:
    """Write pictures of one size, each shown for so long; return the length in bytes.

    Raises `NotPossible` when they have more pixels or bits than the format allows.
    """
    # Viewers take less than two hundredths of a second for a mistake.
    delay = min(max(2, round(milliseconds / 10)), 0xFFFF)
    length = 0
    for picture in pictures:
        if not length:
            length += file.write(_head(picture))
        indices, colours = _indexed(picture)
        length += file.write(struct.pack("<4sHBB", b"\x21\xf9\x04\x00", delay, 0, 0))
        length += file.write(struct.pack("<cHHHHB", b",", 0, 0, picture.shape[1], picture.shape[0], 0x87))
        length += file.write(colours.tobytes())
        length += file.write(_compressed(indices))
    return length + file.write(b";")


def _head(picture: Picture) -> bytes:
    rows, columns = picture.shape[:2]
    if picture.dtype != np.uint8:
        raise NotPossible("a GIF has 8 bits, not 16: ask for image/png")
    if max(rows, columns) > 0xFFFF:
        raise NotPossible("a GIF has at most 65535 pixels in each direction: ask for image/png")
    return struct.pack("<6sHHBBB", b"GIF89a", columns, rows, 0x70, 0, 0) + _FOREVER


def _compressed(indices: Picture) -> bytes:
    """Return the blocks of LZW, which the codec puts between its own header and the trailer."""
    # A code has 12 bits at most; the codec itself reckons with less, and fails on small pictures of noise.
    most = 4096 + 2 * indices.size
    file = bytes(imagecodecs.gif_encode(np.ascontiguousarray(indices), out=most))
    return file[13 + 3 * _COLOURS + 10 : -1]


def _indexed(picture: Picture) -> tuple[Picture, Picture]:
    """Return indices and the 256 colours that they mean."""
    if picture.ndim == 2:
        return picture, _GREYS
    codes = np.zeros(picture.shape[:2], np.int32)
    for channel in range(3):
        codes = codes << _BITS | picture[..., channel] >> (8 - _BITS)
    counts = np.bincount(codes.ravel(), minlength=1 << 3 * _BITS)
    used = np.flatnonzero(counts)
    colours = np.stack([used >> 2 * _BITS, used >> _BITS & 63, used & 63], axis=1)
    places = np.empty(len(used), np.uint8)
    for index, box in enumerate(_boxes(colours, counts[used])):
        places[box] = index
    table = np.zeros(len(counts), np.uint8)
    table[used] = places
    sums = [np.bincount(places, counts[used] * channel, _COLOURS) for channel in (np.ones(len(used)), *colours.T)]
    means = np.stack(sums[1:], axis=1) / np.maximum(sums[0], 1)[:, None]
    palette = np.rint(means * 255 / ((1 << _BITS) - 1)).astype(np.uint8)
    return table[codes], palette


def _boxes(colours: Pixels, counts: Pixels) -> list[Pixels]:
    """Divide colours into at most 256 boxes, always the one with most pixels times its extent, at its median."""
    heap = [_box(colours, counts, np.arange(len(colours)), 0)]
    while len(heap) < _COLOURS and heap[0].score < 0:
        worst = heapq.heappop(heap)
        members = worst.members[np.argsort(colours[worst.members, worst.axis], kind="stable")]
        total = np.cumsum(counts[members])
        middle = min(max(1, int(np.searchsorted(total, total[-1] / 2))), len(members) - 1)
        for part in (members[:middle], members[middle:]):
            heapq.heappush(heap, _box(colours, counts, part, len(heap)))
    return [box.members for box in heap]


class _Box(NamedTuple):
    """Some colours: `axis` is the channel in which they differ most; `order` makes scores that are equal different."""

    score: float
    order: tuple[int, int]
    axis: int
    members: Pixels


def _box(colours: Pixels, counts: Pixels, members: Pixels, number: int) -> _Box:
    part = colours[members]
    extent = part.max(axis=0) - part.min(axis=0)
    axis = int(extent.argmax())
    return _Box(-float(extent[axis] * counts[members].sum()), (number, int(members[0])), axis, members)
