"""The listing of the object store, sorted by pack on disk: the keys of an archive may not fit into memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Final

from osteon.chunking import in_chunks
from osteon.objects.keys import CACHE
from osteon.objects.port import ObjectInfo, Objects
from osteon_indexer.external_sort import ExternalSorter

_CHUNK: Final = 500
_PARTS: Final = 3
"""`<study>/<series>/<pack>.tar`."""


@dataclass(frozen=True, slots=True)
class StoredObjects:
    """The objects of one pack: key → length in bytes. `old_enough`: none of them is new."""

    pack_id: str
    sizes: dict[str, int]
    old_enough: bool


class Listing:
    """Reads the listing once, then iterates over it pack by pack. `on_unknown` gets the keys of objects of no pack."""

    def __init__(
        self, rows: ExternalSorter, min_age: timedelta, on_unknown: Callable[[list[str]], Awaitable[None]]
    ) -> None:
        self._rows = rows
        self._min_age = min_age
        self._on_unknown = on_unknown
        self.packs = 0
        self.bytes = 0

    async def read(self, objects: Objects, prefix: str, after: str) -> None:
        """Read the listing of `prefix`, without packs up to `after`."""
        async for chunk in in_chunks(objects.list(prefix), _CHUNK):
            await self._take(chunk, after)

    async def _take(self, chunk: list[ObjectInfo], after: str) -> None:
        now = datetime.now(UTC)
        rows: list[list[str | int]] = []
        unknown_keys = []
        for info in chunk:
            if info.key.startswith(CACHE):
                continue
            path = PurePosixPath(info.key)
            old_enough = abs(now - info.modified) >= self._min_age
            if len(path.parts) != _PARTS or path.suffix not in (".tar", ".meta"):
                unknown_keys += [info.key] if old_enough else []
            elif path.stem > after:
                rows.append([path.stem, info.key, info.size, int(old_enough)])
                self.packs += path.suffix == ".tar"
                self.bytes += info.size if path.suffix == ".tar" else 0
        await asyncio.to_thread(self._rows.extend, rows)
        if unknown_keys:
            await self._on_unknown(unknown_keys)

    async def __aiter__(self) -> AsyncIterator[StoredObjects]:
        """Iterate over packs in the order of their ids."""
        pack_id, sizes, old_enough = "", dict[str, int](), True
        while rows := await asyncio.to_thread(self._rows.take, _CHUNK):
            for found, key, size, old in rows:
                if found != pack_id and sizes:
                    yield StoredObjects(pack_id, sizes, old_enough)
                    sizes, old_enough = {}, True
                pack_id = found
                sizes[key] = size
                old_enough = old_enough and bool(old)
        if sizes:
            yield StoredObjects(pack_id, sizes, old_enough)
