"""Pictures of instances whose pixel data needs no decoder, drawn in threads of this process.

What is large, damaged or encoded is left to the worker processes of `imaging`.
"""

import asyncio
import mmap
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from osteon import metrics
from osteon.archive.resources import Location
from osteon.byte_caches import ByteCache
from osteon.contracts.imaging import RenderRequest
from osteon.dicom.encoding import Buffer
from osteon.dicom.pixels.registry import CODECS, Family
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon_query.http.errors import DamagedData, UnknownResource
from osteon_query.packs.frames import FrameLocator
from osteon_query.packs.sidecars import Sidecars

log = get_logger(__name__)

FRAME_BYTES: Final = 64 << 20
"""Of one decoded frame, and of the picture requested of it."""
_WHOLE: Final = 4 << 20
"""An instance of up to so many bytes is read as a whole."""
_HEAD: Final = 16 << 20
"""Bytes before the pixel data of a longer one."""
_GAP: Final = 64 << 10
"""Bytes between header and frame that are read with them: cheaper than another request."""
_MODES: Final = frozenset(("rendered", "orthanc", "preview", "uint8", "uint16", "int16"))
_KINDS: Final = frozenset(("image/png", "image/jpeg", "image/x-portable-arbitrarymap"))
_THREADS: Final = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """One file; `warning`: what is wrong with the pixel data that it shows."""

    media_type: str
    data: bytes
    warning: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """What is read of an instance: the bytes up to the end of its frame, which may be two ranges."""

    ranges: tuple[tuple[int, int], ...]
    length: int

    @property
    def size(self) -> int:
        """Bytes that are read."""
        return sum(stop - start for start, stop in self.ranges)


class NativeDrawer:
    """Draws a few pictures at a time, equal ones once, and keeps the last ones: at most `memory` bytes.

    A thread cannot be ended when nobody waits for its picture any longer. While that is so of all threads, pictures
    are left to `imaging`, whose workers can.
    """

    def __init__(self, objects: Objects, sidecars: Sidecars, locator: FrameLocator, *, memory: int) -> None:
        self._objects = objects
        self._sidecars = sidecars
        self._locator = locator
        self._kept: ByteCache[str, DrawnPicture] = ByteCache(
            "drawn_pictures", memory, lambda key, picture: len(key) + len(picture.data)
        )
        self._threads = ThreadPoolExecutor(_THREADS, "draw")
        self._large = asyncio.Semaphore(_THREADS)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._abandoned: set[Future[DrawnPicture]] = set()

    def close(self) -> None:
        """Wait until what is being drawn is drawn."""
        self._threads.shutdown(cancel_futures=True)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the pictures that are kept."""
        return self._kept.size

    def can_draw(self, location: Location, message: RenderRequest) -> bool:
        """Whether a picture is of one frame in a syntax without a decoder, as far as the request shows."""
        codec = CODECS.get(location.transfer_syntax_uid)
        return (
            codec is not None
            and codec.family is Family.NATIVE
            and len(message.frames) == 1
            and message.mode in _MODES
            and message.media_type in _KINDS
        )

    async def draw(self, location: Location, message: RenderRequest) -> DrawnPicture | None:
        """Return a picture; None where `imaging` is to make it, or to say what is wrong.

        Raises `ObjectsUnavailable`.
        """
        if not self.can_draw(location, message):
            return None
        key = message.cache_key
        # Equal requests wait for the first one, and find its picture among those that are kept.
        async with self._locks.setdefault(key, asyncio.Lock()):
            if (kept := self._kept.get(key)) is not None:
                metrics.RENDER_CACHE_REQUESTS.labels("memory").inc()
                return kept
            if len(self._abandoned) == _THREADS:
                return None
            return await self._draw_and_keep(location, message, key)

    async def _draw_and_keep(self, location: Location, message: RenderRequest, key: str) -> DrawnPicture | None:
        began = time.perf_counter()
        try:
            if (part := await self._part(location, message.frames[0])) is None:
                return None
            picture = await self._drawn(location, part, message)
        except (Invalid, NotFound, MemoryError, ValueError, ArithmeticError, LookupError) as error:
            log.info("picture left to imaging", key=location.key, offset=location.offset, reason=str(error))
            return None
        metrics.RENDER_SECONDS.labels(location.transfer_syntax_uid, message.mode).observe(time.perf_counter() - began)
        metrics.RENDERED_BYTES.labels(picture.media_type).inc(len(picture.data))
        if picture.warning:
            log.warning("damaged pixels", key=location.key, offset=location.offset, reason=picture.warning)
        if len(picture.data) <= self._kept.limit // 4:
            self._kept[key] = picture
        return picture

    async def _part(self, location: Location, number: int) -> _Part | None:
        """Return what is read; None for a frame of a long instance that is not whole, or too long."""
        if location.length <= _WHOLE:
            return _Part(((0, location.length),), location.length)
        line = await self._sidecars.line(location)
        try:
            frames = await self._locator.locate(location, line.dataset_offset, line.header)
            if frames.problem or frames.encapsulated:
                return None
            frame = frames.at(number)
        except (UnknownResource, DamagedData):
            return None  # Rendering says what is wrong.
        assert line.header.pixel_data is not None
        head = line.dataset_offset + line.header.pixel_data.offset
        if frame.length > FRAME_BYTES or head > _HEAD or frame.skip or frame.bits % 8:
            return None
        # A word more on each side: those of big endian are turned as wholes.
        start = max(head, frame.offset - location.offset - 8)
        stop = min(location.length, frame.offset - location.offset + frame.length + 8)
        near = start - head <= _GAP
        return _Part(((0, stop),) if near else ((0, head), (start, stop)), location.length)

    async def _drawn(self, location: Location, part: _Part, message: RenderRequest) -> DrawnPicture:
        path = self._objects.path(location.key)
        if path is not None:
            return await self._in_thread(lambda: _read_and_draw(path, location.offset, part, message))
        # What waits for a thread is in memory: few large frames, any number of small ones.
        async with self._large if part.size > _WHOLE else nullcontext():
            pieces = [
                await self._objects.get_range(location.key, location.offset + start, stop - start)
                for start, stop in part.ranges
            ]
            return await self._in_thread(lambda: _draw(pieces, part, message))

    async def _in_thread(self, draw: Callable[[], DrawnPicture]) -> DrawnPicture:
        future = self._threads.submit(draw)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.cancel():
                self._abandoned.add(future)
                future.add_done_callback(self._abandoned.discard)
            raise


def _read_and_draw(path: Path, offset: int, part: _Part, message: RenderRequest) -> DrawnPicture:
    with path.open("rb", buffering=0) as file:
        pieces = [os.pread(file.fileno(), stop - start, offset + start) for start, stop in part.ranges]
    return _draw(pieces, part, message)


def _draw(pieces: list[bytes], part: _Part, message: RenderRequest) -> DrawnPicture:
    # Imported with the first picture: a process that draws none does without numpy.
    from osteon.dicom.pixels.drawing import draw_native
    from osteon.dicom.pixels.geometry import PixelLimits

    made, data = draw_native(_sparse(pieces, part), message.options, PixelLimits(frame_bytes=FRAME_BYTES))
    return DrawnPicture(made.media_type, data, made.warning)


def _sparse(pieces: list[bytes], part: _Part) -> Buffer:
    """Return a file of which only some bytes were read; the others, other frames, take no memory."""
    for piece, (start, stop) in zip(pieces, part.ranges, strict=True):
        if len(piece) != stop - start:
            raise Invalid(f"the pack has {len(piece)} bytes where an instance has {stop - start}")
    if len(pieces[0]) == part.length:
        return pieces[0]
    file = mmap.mmap(-1, part.length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for piece, (start, stop) in zip(pieces, part.ranges, strict=True):
        file[start:stop] = piece
    return file
