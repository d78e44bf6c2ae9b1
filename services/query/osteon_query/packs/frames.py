"""Where the frames of an instance are in its pack, from what the sidecar says; nothing is decoded (PS3.5 8.2, A.4)."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from osteon.archive.resources import Location
from osteon.byte_caches import ByteCache
from osteon.dicom.encoding import ITEM_BYTES
from osteon.dicom.header.load import load_header, read_aside
from osteon.dicom.header.model import Header, PixelData
from osteon.dicom.pixels.errors import PixelError
from osteon.dicom.pixels.geometry import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    FRAMES,
    PHOTOMETRIC,
    ROWS,
    SAMPLES,
    Geometry,
)
from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.errors import Invalid
from osteon.objects.port import Bytes, ObjectNotFound, Objects
from osteon_query.http.errors import DamagedData, NotRenderable, StoredDataUnreadable, UnknownResource
from osteon_query.packs.items import ItemStart, ItemStream
from osteon_query.packs.range_reader import StoredRange, read_ranges

HEAD: Final = 8
"""Bytes of an item's tag and length."""
_BYTE: Final = 8
_LAYOUT: Final = (ROWS, COLUMNS, SAMPLES, BITS_ALLOCATED, BITS_STORED, PHOTOMETRIC, FRAMES)
_DEFLATED: Final = [uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.deflated]
_PIXELS: Final = b'"7FE00010":{'
_LAYOUTS_BYTES: Final = 2 << 20
"""Of memory for layouts of native frames."""
_MAX_MISSING: Final = 1 << 26
"""Bytes of a frame that are sent as zeros."""
_ZEROS: Final = bytes(1 << 16)
_SOME_FRAMES: Final = 1000
"""Frames that are located without a thread."""
_MAX_BIT_FRAME: Final = 1 << 26
"""Bytes of a frame of single bits, which is in memory as a whole when it does not begin with a byte."""


@dataclass(frozen=True, slots=True)
class FrameAt:
    """A frame in an object.

    Attributes:
        length: bytes that are read.
        fragments: item heads stand between its bytes.
        skip: bits of the frame before it.
        bits: of the frame itself.
        missing: bytes at its end that the pixel data does not have, and that are sent as zeros.
        last: the pixel data ends with it, perhaps within its last fragment.
    """

    key: str
    offset: int
    length: int
    fragments: bool = False
    skip: int = 0
    bits: int = 0
    missing: int = 0
    last: bool = False

    @property
    def known_length(self) -> int | None:
        """Bytes of the frame itself; None when that depends on the number of its fragments."""
        if self.fragments:
            return None
        return (self.bits + 7) // _BYTE


class StoredFrames:
    """The frames of an instance; raises `DamagedData` when they cannot be separated.

    `start`: offset of the data set in the object `key`; `layout`: of native frames, None of encapsulated ones.

    Attributes:
        count: frames that are there, the last one perhaps not to its end.
        problem: why frames are missing or cut off, or bytes left over; empty when all is as the header says.
        as_labelled: native frames are what they are called: some writers call colours subsampled that are in full.
    """

    def __init__(
        self, key: str, start: int, pixels: PixelData, layout: Geometry | None, *, as_labelled: bool = True
    ) -> None:
        self.as_labelled = as_labelled
        self._key = key
        self._start = start + pixels.offset
        self._origin = start
        self._pixels = pixels
        self._layout = layout
        if layout is None:
            self.count, self.problem = len(pixels.frames), pixels.problem
        else:
            self.count, self.problem = layout.frames_in(pixels.length), layout.length_problem(pixels.length)
        if not self.count:
            raise DamagedData(f"the pixel data has no frames: {self.problem or 'fragments cannot be assigned to them'}")

    @property
    def encapsulated(self) -> bool:
        """Whether they are in fragments, even against the transfer syntax."""
        return self._pixels.encapsulated

    async def located(self, numbers: Sequence[int]) -> list[FrameAt]:
        """Return where frames are, as `at` does."""
        if len(numbers) <= _SOME_FRAMES:
            return [self.at(number) for number in numbers]
        return await asyncio.to_thread(lambda: [self.at(number) for number in numbers])

    def at(self, number: int) -> FrameAt:
        """Return where frame `number` (from 1) is.

        Raises `UnknownResource`, and `DamagedData` when next to nothing of it is there.
        """
        if not 1 <= number <= self.count:
            reason = f"; {self.problem}" if self.problem else ""
            raise UnknownResource(f"there is no frame {number}: the instance has {self.count}, counted from 1{reason}")
        pixels, last = self._pixels, number == self.count
        if self._layout is None:
            offset, length = pixels.frames[number - 1]
            return FrameAt(self._key, self._origin + offset, length, fragments=True, last=last)
        bits = self._layout.frame_bits
        first = (number - 1) * bits
        offset, stop = first // _BYTE, (first + bits + 7) // _BYTE
        missing = max(0, stop - pixels.length)
        if missing > _MAX_MISSING:
            raise DamagedData(f"{missing} bytes of frame {number} are missing")
        length = stop - offset - missing
        return FrameAt(self._key, self._start + offset, length, skip=first % _BYTE, bits=bits, missing=missing)


class FrameLocator:
    """Finds the frames of instances; remembers the layouts of native ones, for which a header is parsed."""

    def __init__(self) -> None:
        self._layouts: ByteCache[bytes, Geometry] = ByteCache(
            "frame_layouts", _LAYOUTS_BYTES, lambda _, layout: 300 + 4 * len(layout.photometric)
        )

    async def locate(self, location: Location, dataset_offset: int, header: Header) -> StoredFrames:
        """Return the frames of an instance as they are in its pack; raises `UnknownResource` without pixel data.

        Of a deflated data set only their number is true: they cannot be addressed.
        """
        pixels, layout, as_labelled = header.pixel_data, None, True
        try:
            if pixels is None and location.transfer_syntax_uid in _DEFLATED and _PIXELS in header.json:
                layout = await self._layout(location.sha256, header.json)
                length = (layout.frame_bits * layout.frames + 7) // _BYTE
                pixels = PixelData("7FE00010", 0, length, encapsulated=False)
            if pixels is None:
                raise UnknownResource(f"instance {location.identity.sop_uid} has no pixel data")
            if not pixels.encapsulated:
                called = layout or await self._layout(location.sha256, header.json)
                layout = called.of_value(pixels.length)
                as_labelled = layout is called
            start = location.offset + dataset_offset
            return StoredFrames(location.key, start, pixels, layout, as_labelled=as_labelled)
        except PixelError as error:
            raise DamagedData(f"the frames cannot be separated: {error}") from None

    async def _layout(self, sha256: bytes, json: bytes) -> Geometry:
        if (known := self._layouts.get(sha256)) is not None:
            return known
        layout = await read_aside(json, lambda: layout_of(load_header(json)))
        self._layouts[sha256] = layout
        return layout


def pixel_problem(header: Header) -> str:
    """Return what keeps the pixel data of an instance from being decoded whole, as far as its header shows."""
    pixels = header.pixel_data
    if pixels is None or pixels.encapsulated:
        return pixels.problem if pixels else ""
    try:
        return layout_of(load_header(header.json)).of_value(pixels.length).length_problem(pixels.length)
    except PixelError as error:
        return str(error)


def layout_of(header: Mapping[str, Any]) -> Geometry:
    """Return the layout that a header describes; raises `PixelError` naming what is missing."""
    values: dict[int, int | str] = {}
    for tag in _LAYOUT:
        if found := header.get(f"{tag:08X}", {}).get("Value"):
            values[tag] = found[0]
    return Geometry.from_values(values)


def photometric_interpretation(header: Header) -> str:
    """Return what a header says of colours; empty without."""
    values = load_header(header.json).get(f"{PHOTOMETRIC:08X}", {}).get("Value", ())
    return str(values[0]) if values else ""


async def read_frames(objects: Objects, frames: Sequence[FrameAt], starts: Sequence[ItemStart]) -> ItemStream:
    """Yield the start of each frame, then its bytes without item heads, neighbours in one request.

    Raises `StoredDataUnreadable`, `NotRenderable`.
    """

    async def ranges() -> AsyncGenerator[StoredRange, None]:
        for frame, start in zip(frames, starts, strict=True):
            yield StoredRange(frame.key, frame.offset, frame.length, start)

    waiting, content = iter(frames), _FrameContent(FrameAt("", 0, 0))
    async with aclosing(read_ranges(objects, ranges())) as items:
        async for item in items:
            if isinstance(item, ItemStart):
                for piece in content.finish():
                    yield piece
                content = _FrameContent(next(waiting))
                yield item
                continue
            for piece in content.extract(item):
                yield piece
    for piece in content.finish():
        yield piece


async def whole_range(objects: Objects, frame: FrameAt) -> tuple[int, int] | None:
    """Return (offset, length) of a frame whose bytes follow each other in the object; None for one in more fragments.

    Frames of single bits that do not begin and end with a byte have none either, nor those that are not complete.
    """
    if frame.skip or frame.bits % _BYTE or frame.missing:
        return None
    if not frame.fragments:
        return frame.offset, frame.length
    try:
        head = await objects.get_range(frame.key, frame.offset, HEAD)
    except (ObjectNotFound, Invalid) as error:
        raise StoredDataUnreadable(f"the index names {frame.key}, the object store says: {error}") from None
    length = fragment_length(head) + HEAD
    only = length == frame.length or (frame.last and length > frame.length)
    return (frame.offset + HEAD, frame.length - HEAD) if only else None


def cut(data: memoryview, frame: FrameAt) -> bytes:
    """Return a frame out of the bytes of the whole object; raises `StoredDataUnreadable`."""
    content = _FrameContent(frame)
    pieces = content.extract(data[frame.offset : frame.offset + frame.length])
    return b"".join((*pieces, *content.finish()))


class _FrameContent:
    """What a frame is, out of the bytes between its first and its last."""

    def __init__(self, frame: FrameAt) -> None:
        self._frame = frame
        self._head = b""
        self._fragment = 0
        self._bits = bytearray()
        self._left = frame.length

    def extract(self, chunk: Bytes) -> list[Bytes]:
        """Take the next bytes and return those of the frame among them."""
        self._left -= len(chunk)
        if self._frame.bits % _BYTE or self._frame.skip:
            self._bits += chunk
            return [_align(self._bits + bytes(self._frame.missing), self._frame)] if not self._left else []
        return self._without_heads(memoryview(chunk)) if self._frame.fragments else [chunk]

    def finish(self) -> Iterator[Bytes]:
        """Yield zeros for what is missing; raises `StoredDataUnreadable` when the fragments end elsewhere."""
        if self._left or self._head or (self._fragment and not self._frame.last):
            raise StoredDataUnreadable("the fragments of a frame are not where the sidecar expects them")
        if not self._bits:
            for position in range(0, self._frame.missing, len(_ZEROS)):
                yield _ZEROS[: self._frame.missing - position]

    def _without_heads(self, chunk: memoryview) -> list[Bytes]:
        pieces: list[Bytes] = []
        while chunk:
            if self._fragment:
                pieces.append(chunk[: self._fragment])
                chunk, self._fragment = chunk[self._fragment :], self._fragment - len(pieces[-1])
                continue
            rest = HEAD - len(self._head)
            self._head, chunk = self._head + bytes(chunk[:rest]), chunk[rest:]
            if len(self._head) == HEAD:
                self._fragment, self._head = fragment_length(self._head), b""
        return pieces


def fragment_length(head: bytes) -> int:
    """Return the length in an item's head; raises `StoredDataUnreadable` when it is not an item."""
    if head[:4] != ITEM_BYTES:
        raise StoredDataUnreadable("a fragment of the pixel data is not where the sidecar expects it")
    return int.from_bytes(head[4:HEAD], "little")


def _align(data: bytearray, frame: FrameAt) -> bytes:
    """Return a frame of single bits, moved to the beginning of a byte, nothing behind it."""
    size = (frame.bits + 7) // _BYTE
    if size > _MAX_BIT_FRAME:
        raise NotRenderable(f"a frame of {size} bytes of single bits is too long to be aligned to a byte")
    number = int.from_bytes(data, "little") >> frame.skip & ((1 << frame.bits) - 1)
    return number.to_bytes(size, "little")
