"""Reads byte ranges of objects, neighbours in one request, in constant memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import xxhash

from osteon.errors import Invalid
from osteon.objects.port import Bytes, ObjectNotFound, Objects
from osteon_query.http.errors import StoredDataUnreadable
from osteon_query.http.streaming import read_ahead
from osteon_query.packs.items import ItemStart, ItemStream

_MAX_GAP: Final = 64 << 10
"""Reading over so many unwanted bytes is cheaper than another request."""
_MAX_MEMBERS: Final = 512
"""Ranges of one request at most, which bounds the memory that they take."""
_READ_AHEAD: Final = 4
"""Chunks of at most 1 MiB."""


@dataclass(frozen=True, slots=True)
class StoredRange:
    """An item as a byte range of an object: an instance or a frame in a pack; `xxh3` is the item's, when known."""

    key: str
    offset: int
    length: int
    start: ItemStart
    xxh3: bytes = b""


@dataclass(frozen=True, slots=True)
class RangeGroup:
    """Ranges that lie close together in one object, in the order of their bytes."""

    members: list[StoredRange]

    @property
    def key(self) -> str:
        """The key of the object that holds all members."""
        return self.members[0].key

    @property
    def start(self) -> int:
        """Offset of the first byte in the object."""
        return self.members[0].offset

    @property
    def stop(self) -> int:
        """Offset of the byte after the last."""
        return self.members[-1].offset + self.members[-1].length

    def accepts(self, member: StoredRange) -> bool:
        """Whether `member` can be read in the same request."""
        near = 0 <= member.offset - self.stop <= _MAX_GAP
        return near and member.key == self.key and len(self.members) < _MAX_MEMBERS


async def group_ranges(ranges: AsyncIterator[StoredRange]) -> AsyncGenerator[RangeGroup, None]:
    """Gather neighbouring ranges of one object into groups."""
    group: RangeGroup | None = None
    async for member in ranges:
        if group is not None and group.accepts(member):
            group.members.append(member)
            continue
        if group is not None:
            yield group
        group = RangeGroup([member])
    if group is not None:
        yield group


def read_ranges(objects: Objects, ranges: AsyncIterator[StoredRange]) -> ItemStream:
    """Yield the start of each range, then its bytes in chunks; raises `StoredDataUnreadable`.

    What is not in files is read ahead.
    """
    items = _read(objects, ranges)
    return read_ahead(items, _READ_AHEAD) if objects.remote else items


async def _read(objects: Objects, ranges: AsyncIterator[StoredRange]) -> ItemStream:
    async for group in group_ranges(ranges):
        async with _open(objects, group.key, group.start, group.stop - group.start) as chunks:
            splitter, position = ChunkSplitter(chunks, group.key), group.start
            for member in group.members:
                await splitter.skip(member.offset - position)
                checked = _Checked(member.key, member.offset, member.length, member.xxh3)
                # What cannot be read is reported before the item starts, while the status can still be an error.
                piece = checked.passed(await splitter.take(member.length)) if member.length else b""
                yield member.start
                while piece:
                    yield piece
                    piece = checked.passed(await splitter.take(checked.left)) if checked.left else b""
                position = member.offset + member.length


async def read_range(
    objects: Objects, key: str, offset: int, length: int, xxh3: bytes = b""
) -> AsyncGenerator[Bytes, None]:
    """Yield exactly `length` bytes of an object.

    Raises `StoredDataUnreadable` when it is absent or shorter or, before its last chunk, has another `xxh3`.
    """
    checked = _Checked(key, offset, length, xxh3)
    async with _open(objects, key, offset, length) as chunks:
        async for chunk in chunks:
            yield checked.passed(chunk)
    if checked.left:
        raise StoredDataUnreadable(f"{key} ends {checked.left} bytes before the end that the index gives")


class _Checked:
    """Sees the chunks of a range pass, and knows whether all of them are what was stored."""

    def __init__(self, key: str, offset: int, length: int, xxh3: bytes) -> None:
        self.left = length
        self._where = f"{length} bytes at {offset} of {key}"
        self._expected = xxh3
        self._hash = xxhash.xxh3_128() if xxh3 else None

    def passed(self, chunk: Bytes) -> Bytes:
        """Return the next chunk; raises `StoredDataUnreadable` instead of the last one of changed bytes."""
        self.left -= len(chunk)
        if self._hash is not None:
            self._hash.update(chunk)
            if not self.left and self._hash.digest() != self._expected:
                raise StoredDataUnreadable(f"{self._where} have another checksum than when they were stored")
        return chunk


@asynccontextmanager
async def _open(objects: Objects, key: str, offset: int, length: int) -> AsyncIterator[AsyncIterator[Bytes]]:
    """Open a stream of the object store; what reading it raises becomes `StoredDataUnreadable`."""
    stream = objects.stream(key, offset, length)
    try:
        yield stream
    except (ObjectNotFound, Invalid) as error:
        where = f"{length} bytes at {offset} of {key}"
        raise StoredDataUnreadable(f"the index names {where}, the object store says: {error}") from None
    finally:
        # An abandoned stream would keep its file or connection until it is collected.
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


class ChunkSplitter:
    """Splits a stream of chunks at given lengths, without copying."""

    def __init__(self, chunks: AsyncIterator[Bytes], source: str) -> None:
        """`source` is what an error calls the stream."""
        self._chunks = chunks
        self._source = source
        self._rest = memoryview(b"")

    async def fill(self) -> None:
        """Wait until there are bytes to take; raises `StoredDataUnreadable` at the end of the stream."""
        while not self._rest:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                raise StoredDataUnreadable(f"{self._source} ends before the end that the index gives")
            self._rest = memoryview(chunk)

    async def take(self, limit: int) -> memoryview:
        """Return the next bytes, at least one and at most `limit`."""
        if not self._rest:
            await self.fill()
        piece, self._rest = self._rest[:limit], self._rest[limit:]
        return piece

    async def skip(self, length: int) -> None:
        """Pass over the next `length` bytes."""
        while length:
            length -= len(await self.take(length))
