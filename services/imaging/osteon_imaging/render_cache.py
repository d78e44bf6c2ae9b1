"""Pictures in the object store: a cache of bounded size, shared by all replicas, that survives restarts.

An object is the files of one request, one after the other, then a line of JSON that says so and how long that line is.
The age of an object shows when it was last used: one that was used and is older than an hour is written again.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import orjson

from osteon import metrics
from osteon.byte_caches import ByteCache
from osteon.contracts.imaging import INLINE_BYTES, RENDERED
from osteon.errors import NotFound, OsteonError
from osteon.logging import get_logger
from osteon.objects.port import ObjectInfo, ObjectNotFound, Objects

log = get_logger(__name__)

GRACE: Final = timedelta(minutes=1)
"""A younger picture stays: a client was just referred to it."""
FRESH: Final = timedelta(hours=1)
"""A younger picture needs no new date."""
_TAIL: Final = 64 << 10
"""Bytes at the end of a large object in which the tail is searched."""
_PAUSE: Final = 600.0
_SHORTEST_PAUSE: Final = 5.0
_USED_BYTES: Final = 8 << 20
"""Of memory for the keys of pictures that were used since the last look at all of them."""
_SIZE_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class RenderedFiles:
    """The files of one request: their lengths and type. `data` is empty when they are too large for a reply.

    `warning`: what is wrong with the pixel data that they show.
    """

    media_type: str
    lengths: tuple[int, ...]
    transfer_syntax_uid: str
    data: bytes = b""
    warning: str = ""

    @property
    def length(self) -> int:
        """Bytes of all files together."""
        return sum(self.lengths)

    @property
    def tail(self) -> bytes:
        """What follows the files in the object."""
        line = orjson.dumps([self.media_type, self.lengths, self.transfer_syntax_uid, self.warning])
        return line + len(line).to_bytes(_SIZE_BYTES, "big")


class RenderCache:
    """Keeps at most about `limit` bytes. Every method raises `ObjectsUnavailable`."""

    def __init__(self, objects: Objects, limit: int) -> None:
        self._objects = objects
        self._limit = limit
        self._used = _used_pictures()
        self._written = 0
        self._full = asyncio.Event()

    async def get(self, key: str) -> RenderedFiles | None:
        """Return a picture if it is there, with its bytes if they are few."""
        try:
            start, whole = await self._start(key)
            if not whole:
                size = await self._objects.size(key)
                start = await self._objects.get_range(key, max(0, size - _TAIL), min(size, _TAIL))
        except NotFound:
            return None
        self._used[key] = None
        return _parsed(start, whole=whole)

    async def _start(self, key: str) -> tuple[bytes, bool]:
        """Return the beginning of an object, and whether that is all of it."""
        chunks, size = [], 0
        stream = self._objects.stream(key)
        assert isinstance(stream, AsyncGenerator)
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                chunks.append(chunk)
                size += len(chunk)
                if size > INLINE_BYTES + _TAIL:
                    return b"", False
        return b"".join(chunks), True

    async def put(self, key: str, picture: RenderedFiles, path: Path | None = None) -> None:
        """Keep a picture: its data, or the file at `path`, to which the tail is added."""
        tail = picture.tail
        if path is None:
            await self._objects.put(key, picture.data + tail)
        else:
            await asyncio.to_thread(_append, path, tail)
            await self._objects.put_file(key, path)
        self._written += picture.length + len(tail)
        if self._written > self._limit // 10:
            self._full.set()

    async def keep_bounded(self) -> None:
        """Maintain the size forever: at the start, when much was written, and periodically."""
        while True:
            self._full.clear()
            try:
                await self.tidy()
            except OsteonError as error:
                log.warning("render cache maintenance failed", reason=str(error))
            await asyncio.sleep(_SHORTEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self._full.wait()

    async def tidy(self) -> int:
        """Give those that were used a new date, delete those used least lately that are too many; return how many."""
        used, self._used, self._written = self._used, _used_pictures(), 0
        now = datetime.now(UTC)
        found = [info async for info in self._objects.list(RENDERED)]
        for number, info in enumerate(found):
            if info.key in used and info.modified < now - FRESH:
                await self._renew(info.key)
                found[number] = ObjectInfo(info.key, info.size, now)
        deleted = await self._shrink(found, now)
        metrics.RENDER_CACHE_BYTES.set(sum(info.size for info in found) - sum(info.size for info in deleted))
        return len(deleted)

    async def _renew(self, key: str) -> None:
        with (
            tempfile.NamedTemporaryFile(prefix="osteon-imaging-") as file,
            contextlib.suppress(ObjectNotFound),  # another replica deleted it
        ):
            async for chunk in self._objects.stream(key):
                await asyncio.to_thread(file.write, chunk)
            file.flush()
            await self._objects.put_file(key, Path(file.name))

    async def _shrink(self, found: list[ObjectInfo], now: datetime) -> list[ObjectInfo]:
        size = sum(info.size for info in found)
        deleted: list[ObjectInfo] = []
        if size <= self._limit:
            return deleted
        for info in sorted(found, key=lambda info: info.modified):
            # Below the limit, so that it does not take a round for each new picture.
            if size <= self._limit * 0.9 or info.modified > now - GRACE:
                break
            await self._objects.delete(info.key)
            size -= info.size
            deleted.append(info)
        log.info("least recently used pictures deleted", pictures=len(deleted))
        return deleted


def _append(path: Path, tail: bytes) -> None:
    with path.open("ab") as file:
        file.write(tail)


def _parsed(end: bytes, *, whole: bool) -> RenderedFiles | None:
    """Read the tail at the end of `end`; None when there is none, as after a power cut."""
    size = int.from_bytes(end[-_SIZE_BYTES:], "big")
    try:
        media_type, lengths, syntax, *warning = orjson.loads(end[-_SIZE_BYTES - size : -_SIZE_BYTES])
    except ValueError:
        return None
    picture = RenderedFiles(media_type, tuple(lengths), syntax, warning="".join(warning))
    if not whole:
        return picture
    data = end[: -_SIZE_BYTES - size]
    return replace(picture, data=data) if len(data) == picture.length else None


def _used_pictures() -> ByteCache[str, None]:
    return ByteCache("used_pictures", _USED_BYTES, lambda key, _: len(key))
