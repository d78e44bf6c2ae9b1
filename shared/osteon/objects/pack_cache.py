"""Whole packs in a local folder, before an object store: what is read on is fetched once.

A pack is fetched at its second read, or at a first one of many bytes. While it comes, requests read what is there.
Each block is compared with its checksum, so a file that was damaged or deleted is read from the store again.
"""

import asyncio
import errno
import os
import uuid
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

from xxhash import xxh3_64

from osteon import metrics
from osteon.byte_caches import ByteCache
from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon.objects.keys import check_key
from osteon.objects.port import Bytes, FileTail, ObjectInfo, Objects

BLOCK: Final = 64 << 10
"""Bytes that have a checksum; a read takes whole blocks."""
LARGE_READ: Final = 4 << 20
"""Bytes of one read that show at once that the pack is read on."""
SHARE: Final = 4
"""A pack, and what is fetched ahead of a study, may take a quarter of the cache."""
_CHUNK: Final = 1 << 20
_AHEAD: Final = 8 << 20
"""A read so far behind the bytes that have come asks the store itself."""
_NAMES_BYTES: Final = 4 << 20
"""Of memory for the packs of which is remembered that they were read once, and for those that are too long."""
_STUDIES_BYTES: Final = 32 << 10
"""Of memory for the studies of which is remembered that their packs were fetched ahead."""
_LISTED: Final = 1_000
log = get_logger(__name__)


class PackCache:
    """The port `Objects`: reads of packs by way of `folder`, of at most `limit` bytes; all else goes to the store.

    With `prefetch`, the other packs of a study follow the first one that is fetched. The folder belongs to this
    process; its files may be deleted at any time.
    """

    remote = True

    def __init__(self, objects: Objects, folder: Path, limit: int, *, prefetch: bool = False) -> None:
        self._objects = objects
        self._folder = folder
        self._limit = limit
        self._prefetch = prefetch
        self._bytes = 0
        self._packs: OrderedDict[str, _CachedPack] = OrderedDict()
        self._read_once = _names("packs_read_once", _NAMES_BYTES)
        self._too_long = _names("packs_too_long", _NAMES_BYTES)
        self._opened = _names("opened_studies", _STUDIES_BYTES)
        self._one_study = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; raises `ObjectNotFound`, or `Invalid` beyond the end."""
        pack = self._wanted(key, length)
        data = await self._read(key, pack, offset, length) if pack else None
        return await self._objects.get_range(key, offset, length) if data is None else data

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[Bytes]:
        """Iterate in chunks of at most 1 MiB; the first step raises `ObjectNotFound`, or `Invalid` beyond the end."""
        pack = self._wanted(key, length) if length else None
        while pack is not None and length:
            step = min(_CHUNK - offset % BLOCK, length)
            chunk = await self._read(key, pack, offset, step)
            if chunk is None:
                break
            offset, length = offset + step, length - step
            yield chunk
            if not length:
                return
        async for rest in self._objects.stream(key, offset, length):
            yield rest

    async def get(self, key: str, offset: int = 0) -> bytes:
        """Return a whole (small) object, or what it has from `offset` on; raises `ObjectNotFound`."""
        return await self._objects.get(key, offset)

    async def put_file(self, key: str, path: Path, tail: FileTail | None = None) -> None:
        """Store the file at `path` durably."""
        await self._objects.put_file(key, path, tail)

    async def put(self, key: str, data: bytes) -> None:
        """Store `data` durably, replacing what was there."""
        await self._objects.put(key, data)

    async def size(self, key: str) -> int:
        """Return the object's length in bytes; raises `ObjectNotFound`."""
        return await self._objects.size(key)

    def path(self, key: str) -> None:
        """Objects are not files here: those in the cache may go at any time."""
        check_key(key)

    async def delete(self, key: str) -> None:
        """Delete the object; an absent one is not an error."""
        if pack := self._packs.get(key):
            await self._discard(key, pack)
        await self._objects.delete(key)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Iterate over the objects whose key starts with `prefix`."""
        return self._objects.list(prefix)

    async def check(self) -> None:
        """Raise `ObjectsUnavailable` with what is wrong when the store cannot be used now."""
        await self._objects.check()

    async def close(self) -> None:
        """Stop fetching; the folder and the store are the caller's."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wanted(self, key: str, length: int | None) -> "_CachedPack | None":
        """Return the pack that a read can use, whose bytes are there or on their way; None: the store is read."""
        if not key.endswith(".tar") or key in self._too_long:
            return None
        pack = self._packs.get(key)
        if pack is not None:
            self._packs.move_to_end(key)
            metrics.PACK_CACHE_REQUESTS.labels("hit" if pack.whole else "coming").inc()
            return pack
        metrics.PACK_CACHE_REQUESTS.labels("miss").inc()
        if key in self._read_once or (length or 0) >= LARGE_READ:
            self._read_once.forget(key)
            return self._fetched_with_study(key)
        self._read_once[key] = None
        return None

    def _fetched_with_study(self, key: str) -> "_CachedPack":
        pack = self._start(key)
        study = key.partition("/")[0]
        if self._prefetch and study not in self._opened:
            self._opened[study] = None
            self._spawn(self._fetch_study(key))
        return pack

    async def _read(self, key: str, pack: "_CachedPack", offset: int, length: int) -> bytes | None:
        """Return bytes of a pack; None when the store has to be asked."""
        if not await pack.wait_for(offset, offset + length):
            return None
        try:
            data = await asyncio.to_thread(pack.read, offset, length)
        except OSError as error:
            log.info("a cached pack cannot be read", pack=key, error=str(error))
        else:
            if data is not None:
                return data
            metrics.PACK_CACHE_DAMAGED.inc()
            log.warning("a cached pack is damaged, and is fetched again", pack=key, file=str(pack.path))
        await self._discard(key, pack)
        self._read_once[key] = None
        return None

    def _start(self, key: str) -> "_CachedPack":
        pack = self._packs[key] = _CachedPack(self._folder / uuid.uuid4().hex)
        pack.fetching = self._spawn(self._fetch(key, pack))
        return pack

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _fetch(self, key: str, pack: "_CachedPack") -> None:
        try:
            size = await self._objects.size(key)
            if size > self._limit // SHARE:
                self._too_long[key] = None
            elif await self._make_room(size):
                pack.size, self._bytes = size, self._bytes + size
                await self._copy(key, pack)
        except OsteonError as error:  # the request that asks the store itself reports it
            log.info("a pack cannot be fetched", pack=key, error=str(error))
        except OSError as error:
            log.warning("a pack cannot be kept", pack=key, folder=str(self._folder), error=str(error))
        finally:
            pack.end()
            if not pack.whole:
                await self._discard(key, pack)
            metrics.PACK_CACHE_BYTES.set(self._bytes)

    async def _copy(self, key: str, pack: "_CachedPack") -> None:
        with await asyncio.to_thread(pack.path.open, "xb", 0) as file:
            async for chunk in self._objects.stream(key, 0, pack.size):
                await asyncio.to_thread(pack.append, file, chunk)
                metrics.PACK_CACHE_FETCHED.inc(len(chunk))
                pack.wake()

    async def _make_room(self, size: int) -> bool:
        """Remove the packs used least lately until `size` bytes fit; False when too much is on its way."""
        for key, pack in list(self._packs.items()):
            if self._bytes + size <= self._limit:
                break
            if pack.whole:
                metrics.PACK_CACHE_EVICTIONS.inc()
                await self._discard(key, pack)
        return self._bytes + size <= self._limit

    async def _discard(self, key: str, pack: "_CachedPack") -> None:
        if self._packs.get(key) is pack:
            del self._packs[key]
            self._bytes -= pack.size
            metrics.PACK_CACHE_BYTES.set(self._bytes)
            await asyncio.to_thread(pack.path.unlink, missing_ok=True)

    async def _fetch_study(self, key: str) -> None:
        """Fetch the packs beside `key`: those of its series, then the others of its study, one after the other."""
        study, series = key.split("/")[:2]
        async with self._one_study:
            found = []
            try:
                async for info in self._objects.list(f"{study}/"):
                    if info.key.endswith(".tar"):
                        found.append(info)
                    if len(found) == _LISTED:
                        break
            except OsteonError as error:
                log.info("packs cannot be fetched ahead", study=study, error=str(error))
                return
            found.sort(key=lambda info: (not info.key.startswith(f"{study}/{series}/"), info.key))
            left = self._limit // SHARE
            for info in found:
                left -= info.size
                if left < 0:
                    return
                if info.key not in self._packs:
                    await asyncio.wait([self._start(info.key).fetching])


class _CachedPack:
    """A pack as a file, which may still be coming. `size` and `come` in bytes; `come` counts whole blocks."""

    fetching: asyncio.Task[None]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.whole = False
        self._come = 0
        self._ended = False
        self._sums = array("Q")
        self._block = xxh3_64()
        self._filled = 0
        self._grown = asyncio.Event()

    async def wait_for(self, start: int, stop: int) -> bool:
        """Wait until the bytes are there; False when they will not be, or not soon."""
        while not self._has(stop):
            if self._ended or start > self._come + _AHEAD:
                return False
            await self._grown.wait()
        return True

    def _has(self, stop: int) -> bool:
        return stop <= (self.size if self.whole else self._come)

    def append(self, file: BinaryIO, data: Bytes) -> None:
        """Write bytes and take the checksums of their blocks; raises `OSError`. Blocks."""
        if file.write(data) < len(data):
            raise OSError(errno.ENOSPC, "only a part was written")
        view = memoryview(data)
        while view:
            piece, view = view[: BLOCK - self._filled], view[BLOCK - self._filled :]
            self._block.update(piece)
            self._filled += len(piece)
            if self._filled == BLOCK:
                self._end_block()
        self._come = len(self._sums) * BLOCK

    def _end_block(self) -> None:
        self._sums.append(self._block.intdigest())
        self._block.reset()
        self._filled = 0

    def wake(self) -> None:
        """Wake those who wait for bytes."""
        self._grown.set()
        self._grown = asyncio.Event()

    def end(self) -> None:
        """No more bytes come: the pack is whole, or will not be."""
        self.whole = bool(self.size) and self._come + self._filled == self.size
        if self._filled:
            self._end_block()
        self._ended = True
        self.wake()

    def read(self, offset: int, length: int) -> bytes | None:
        """Return bytes, None when they are not those that came; raises `OSError`. Blocks."""
        start, stop = offset - offset % BLOCK, min(-(-(offset + length) // BLOCK) * BLOCK, self.size)
        number = os.open(self.path, os.O_RDONLY)
        try:
            data = os.pread(number, length, offset)
            before = os.pread(number, offset - start, start)
            behind = os.pread(number, stop - offset - length, offset + length)
        finally:
            os.close(number)
        came = len(data) == length and self._came(start // BLOCK, before, memoryview(data), behind)
        return data if came else None

    def _came(self, block: int, before: bytes, data: memoryview, behind: bytes) -> bool:
        """Whether three parts that follow each other, from the beginning of a block on, have the blocks' checksums."""
        while data or before:
            digest = xxh3_64(before)
            piece, data = data[: BLOCK - len(before)], data[BLOCK - len(before) :]
            digest.update(piece)
            if not data:
                digest.update(behind)
            if block >= len(self._sums) or digest.intdigest() != self._sums[block]:
                return False
            block, before = block + 1, b""
        return True


def _names(name: str, limit: int) -> ByteCache[str, None]:
    return ByteCache(name, limit, lambda key, _: len(key))
