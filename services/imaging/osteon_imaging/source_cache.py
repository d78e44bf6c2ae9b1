"""Instances as files that workers read: in place where objects are files, else fetched once for several requests."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from osteon.objects.port import Objects

IN_PLACE: Final = 4 << 20
"""A worker copies a part of a pack up to this length for each request; a longer one is kept as a file of its own."""


class ObjectRange(NamedTuple):
    """`length` bytes at `offset` of an object, or of the file that has them."""

    where: str
    offset: int
    length: int


@dataclass(slots=True, eq=False)
class _Fetched:
    path: Path
    size: int
    fetching: asyncio.Task[None]
    users: int = 0


class SourceCache:
    """Files below `folder`, at most about `limit` bytes of those that are not in use.

    Not a cache of cachetools, which would evict files that are in use or still being fetched.
    """

    def __init__(self, objects: Objects, folder: Path, limit: int) -> None:
        self._objects = objects
        self._folder = folder
        self._limit = limit
        self._fetched: OrderedDict[ObjectRange, _Fetched] = OrderedDict()

    @asynccontextmanager
    async def open(self, part: ObjectRange) -> AsyncIterator[ObjectRange]:
        """Give the file that has a part of an object, for the block.

        Raises `ObjectNotFound`, `Invalid` when the object is shorter, `ObjectsUnavailable`.
        """
        path = self._objects.path(part.where)
        if path is not None and (part.length <= IN_PLACE or not part.offset):
            yield ObjectRange(str(path), part.offset, part.length)
            return
        fetched = self._entry(part)
        fetched.users += 1
        try:
            # A request that gives up must not take the file from others that wait for it.
            await asyncio.shield(fetched.fetching)
            yield ObjectRange(str(fetched.path), 0, part.length)
        finally:
            fetched.users -= 1
            await self._shrink()

    def _entry(self, part: ObjectRange) -> _Fetched:
        fetched = self._fetched.get(part)
        if fetched is None or _failed(fetched.fetching):
            path = self._folder / uuid.uuid4().hex
            fetched = _Fetched(path, part.length, asyncio.create_task(self._fetch(part, path)))
            self._fetched[part] = fetched
        self._fetched.move_to_end(part)
        return fetched

    async def _fetch(self, part: ObjectRange, path: Path) -> None:
        try:
            with path.open("wb") as file:
                async for chunk in self._objects.stream(*part):
                    await asyncio.to_thread(file.write, chunk)
        except BaseException:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise

    async def _shrink(self) -> None:
        """Remove the files used least lately that are too many, and those that could not be fetched."""
        size = sum(fetched.size for fetched in self._fetched.values())
        for part, fetched in list(self._fetched.items()):
            if not fetched.users and fetched.fetching.done() and (size > self._limit or _failed(fetched.fetching)):
                size -= fetched.size
                del self._fetched[part]
                await asyncio.to_thread(fetched.path.unlink, missing_ok=True)

    async def close(self) -> None:
        """Stop fetching; the folder is the caller's."""
        tasks = [fetched.fetching for fetched in self._fetched.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failed(task: asyncio.Task[None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
