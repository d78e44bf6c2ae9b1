"""Instances in temporary files that are mapped into memory, where byte ranges of a pack are not enough.

The files are unlinked already, and vanish with their mappings. What is not `async` blocks: call it in threads.
"""

import asyncio
import mmap
import tempfile
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO, Final

from osteon.dicom.header.model import Header
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.part10 import read_part10
from osteon.dicom.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from osteon.errors import Invalid
from osteon.objects.port import Bytes, Objects
from osteon_query.http.errors import DamagedData, TooLarge
from osteon_query.packs.range_reader import read_range

_STEP: Final = 1 << 20


async def map_instance(objects: Objects, key: str, offset: int, length: int, max_inflated: int) -> "MappedInstance":
    """Copy a Part 10 file out of the object store.

    Raises `StoredDataUnreadable`, `DamagedData`, and `TooLarge` when it inflates to more than `max_inflated` bytes.
    """
    file = await asyncio.to_thread(tempfile.TemporaryFile)
    async with aclosing(read_range(objects, key, offset, length)) as chunks:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
    try:
        return await asyncio.to_thread(MappedInstance, file, max_inflated)
    except Invalid as error:
        if isinstance(error, (TooLarge, DamagedData)):
            raise
        raise DamagedData(f"the instance cannot be read: {error}") from None


class MappedInstance:
    """The data set of a Part 10 file, inflated when the file has it deflated."""

    def __init__(self, file: IO[bytes], max_inflated: int) -> None:
        with file:
            mapping = _map(file)
        meta = read_part10(mapping)
        self._syntax = meta.transfer_syntax_uid
        self.dataset = mapping[meta.data_set_offset :]
        if self._syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            self.dataset, self._syntax = _inflate(self.dataset, max_inflated), EXPLICIT_VR_LITTLE_ENDIAN

    def header(self, bulk_limit: int = 4096) -> Header:
        """Read the header as sidecars have it, with values up to `bulk_limit` bytes."""
        return HeaderReader(bulk_limit).read(self.dataset, self._syntax)

    def values(self) -> dict[str, tuple[int, int]]:
        """Return (offset, length) of every value that may be bulk data, by the path of its element."""
        return HeaderReader(0).read(self.dataset, self._syntax).bulk

    async def read(self, offset: int, length: int) -> AsyncGenerator[Bytes, None]:
        """Yield bytes of the data set."""
        for position in range(offset, offset + length, _STEP):
            stop = min(position + _STEP, offset + length)
            yield await asyncio.to_thread(bytes, self.dataset[position:stop])


def _map(file: IO[bytes]) -> memoryview:
    file.flush()
    # Never closed explicitly: responses may still hold views of it, and the last one frees the mapping.
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _inflate(data: memoryview, limit: int) -> memoryview:
    """Inflate as far as the stream goes; raises `TooLarge` beyond `limit` bytes."""
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with tempfile.TemporaryFile() as file:
        pending, position = b"", 0
        while not inflater.eof and (pending or position < len(data)):
            pending = pending or bytes(data[position : (position := position + _STEP)])
            try:
                found = inflater.decompress(pending, _STEP)
            except zlib.error as error:
                raise DamagedData(f"the data set cannot be inflated: {error}") from None
            pending = inflater.unconsumed_tail
            size += file.write(found)
            if size > limit:
                raise TooLarge(f"the data set inflates to more than {limit} bytes")
        return _map(file)
