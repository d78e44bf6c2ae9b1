"""ZIP archives as streams: entries stored, sizes and CRC-32 behind each, ZIP64 where needed (APPNOTE 4.3, 4.4, 4.5)."""

import asyncio
import struct
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from osteon.objects.port import Bytes
from osteon_query.packs.items import ItemStart, ItemStream, SentCounter

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_DESCRIPTOR: Final = struct.Struct("<4sL2Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_EXTRA: Final = struct.Struct("<2H3Q")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END: Final = struct.Struct("<4s4H2LH")
_VERSION: Final = 45
"""Needed to extract: ZIP64."""
_FLAGS: Final = 0x0808
"""Names in UTF-8; sizes and CRC-32 come behind the content."""
_DATE: Final = 0x21
"""1980-01-01, the earliest that there is: files of an archive are the same whenever it is made."""
_FULL: Final = 0xFFFFFFFF
_MANY: Final = 0xFFFF
_IN_THREAD: Final = 1 << 16
"""Shorter chunks are checked at once."""


async def write_zip(items: ItemStream, counter: SentCounter | None = None) -> AsyncGenerator[Bytes, None]:
    """Write items as files of an archive. Memory: about 150 bytes a file."""
    directory = bytearray()
    count = position = 0
    entry: _Entry | None = None
    async with aclosing(items):
        async for item in items:
            if counter is not None:
                counter.count(item)
            if not isinstance(item, ItemStart):
                assert entry is not None
                await entry.add(item)
                position += len(item)
                yield item
                continue
            if entry is not None:
                directory += entry.directory()
                position += len(tail := entry.tail())
                yield tail
            entry, count = _Entry(item.name.encode(), position), count + 1
            position += len(head := entry.head())
            yield head
    if entry is not None:
        directory += entry.directory()
        position += len(tail := entry.tail())
        yield tail
    yield bytes(directory) + _end(count, len(directory), position)


class _Entry:
    """An entry while its content goes by."""

    def __init__(self, name: bytes, position: int) -> None:
        self._name = name
        self._position = position
        self._size = 0
        self._crc = 0

    async def add(self, chunk: Bytes) -> None:
        """Add a chunk to the size and the CRC-32."""
        self._size += len(chunk)
        if len(chunk) < _IN_THREAD:
            self._crc = zlib.crc32(chunk, self._crc)
        else:
            self._crc = await asyncio.to_thread(zlib.crc32, chunk, self._crc)

    def head(self) -> bytes:
        """Return the local header. Its ZIP64 field makes the sizes of the descriptor eight bytes long."""
        extra = struct.pack("<2H2Q", 1, 16, 0, 0)
        fixed = (b"PK\3\4", _VERSION, _FLAGS, 0, 0, _DATE, 0, _FULL, _FULL, len(self._name), len(extra))
        return _LOCAL.pack(*fixed) + self._name + extra

    def tail(self) -> bytes:
        """Return the data descriptor, which follows the content."""
        return _DESCRIPTOR.pack(b"PK\7\x08", self._crc, self._size, self._size)

    def directory(self) -> bytes:
        """Return the header in the central directory."""
        extra = _EXTRA.pack(1, 24, self._size, self._size, self._position)
        fixed = (b"PK\1\2", _VERSION, _VERSION, _FLAGS, 0, 0, _DATE, self._crc, _FULL, _FULL, len(self._name))
        return _CENTRAL.pack(*fixed, len(extra), 0, 0, 0, 0, _FULL) + self._name + extra


def _end(count: int, size: int, position: int) -> bytes:
    """Return what stands behind the central directory."""
    end64 = _END64.pack(b"PK\6\6", _END64.size - 12, _VERSION, _VERSION, 0, 0, count, count, size, position)
    locator = _LOCATOR.pack(b"PK\6\7", 0, position + size, 1)
    few = min(count, _MANY)
    return end64 + locator + _END.pack(b"PK\5\6", 0, 0, few, few, min(size, _FULL), min(position, _FULL), 0)
