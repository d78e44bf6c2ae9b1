"""The content of attachments: that of users in the object store, compressed or not, and the DICOM file of an instance.

A compressed one is a zlib stream (RFC 1950) behind the length of its content, eight bytes, the lowest first, as Orthanc
keeps it. Everything passes in chunks, which threads hash, compress and inflate.
"""

import asyncio
import hashlib
import uuid
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from osteon.archive.resources import Location
from osteon.contracts.user_data import Attachment
from osteon.objects.port import Bytes, Objects
from osteon.packs.sidecar import SidecarLine
from osteon_query.http.accept import DICOM
from osteon_query.http.errors import StoredDataUnreadable
from osteon_query.packs.range_reader import read_range
from osteon_query.packs.stored_value import RangeSource

LENGTH_BYTES: Final = 8
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentFile:
    """An attachment that can be read. Sizes in bytes.

    `plain` and `stored` give `length` bytes from `offset`, of the content and of what is stored. `tag` stands for the
    content in entity tags: its MD5, which is not known of what was received.
    """

    code: int
    uuid: str
    size: int
    stored_size: int
    plain: RangeSource
    stored: RangeSource
    tag: str
    revision: int = 0
    compressed: bool = False
    media_type: str = "application/octet-stream"
    md5s: tuple[str, str] | None = None

    async def digests(self) -> tuple[str, str]:
        """Return the MD5 of the content and of what is stored, which is read when they are not known."""
        if self.md5s is not None:
            return self.md5s
        md5 = await digest(self.plain(0, self.size), "md5")
        return md5, md5


def user_file(objects: Objects, code: int, found: Attachment, media_type: str) -> AttachmentFile:
    """Return an attachment of a user."""

    def stored(offset: int, length: int) -> AsyncGenerator[Bytes, None]:
        return read_range(objects, found.key, offset, length)

    return AttachmentFile(
        code=code,
        uuid=str(uuid.UUID(hex=found.key.rpartition("/")[2])),
        size=found.size,
        stored_size=found.stored_size,
        plain=partial(_inflated, objects, found) if found.compressed else stored,
        stored=stored,
        tag=found.md5,
        revision=found.revision,
        compressed=found.compressed,
        media_type=media_type,
        md5s=(found.md5, found.stored_md5),
    )


def dicom_file(objects: Objects, code: int, location: Location, length: int) -> AttachmentFile:
    """Return the first `length` bytes of an instance's file as an attachment."""

    def stored(offset: int, wanted: int) -> AsyncGenerator[Bytes, None]:
        xxh3 = location.xxh3 if wanted == location.length else b""
        return read_range(objects, location.key, location.offset + offset, wanted, xxh3)

    return AttachmentFile(
        code=code,
        uuid=str(uuid.UUID(bytes=location.sha256[:16], version=4)),
        size=length,
        stored_size=length,
        plain=stored,
        stored=stored,
        tag=location.sha256.hex(),
        media_type=DICOM,
    )


async def verify_user_file(file: AttachmentFile) -> None:
    """Raise `StoredDataUnreadable` unless an attachment of a user has the MD5 that it had."""
    md5, stored_md5 = await file.digests()
    if await digest(file.stored(0, file.stored_size), "md5") != stored_md5:
        raise StoredDataUnreadable("the attachment has changed in the object store: its MD5 differs")
    if file.compressed and await digest(file.plain(0, file.size), "md5") != md5:
        raise StoredDataUnreadable("the attachment cannot be decompressed to what it was: its MD5 differs")


async def verify_dicom_file(file: AttachmentFile, location: Location, line: SidecarLine) -> None:
    """Raise `StoredDataUnreadable` unless the data set of an instance has the SHA-256 that it had."""
    data_set = file.plain(line.dataset_offset, file.size - line.dataset_offset)
    if await digest(data_set, "sha256") != location.sha256.hex():
        raise StoredDataUnreadable(f"the data set at byte {location.offset} of {location.key} has another SHA-256")


async def digest(content: AsyncGenerator[Bytes, None], algorithm: str) -> str:
    """Return the digest of a content, in hexadecimal."""
    found = hashlib.new(algorithm, usedforsecurity=False)
    async with aclosing(content):
        async for chunk in content:
            await asyncio.to_thread(found.update, chunk)
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written: its length in bytes, and its MD5 in hexadecimal."""

    size: int
    md5: str


async def write_content(path: Path, chunks: AsyncIterator[Bytes]) -> WrittenFile:
    """Write chunks to a new file."""
    md5, size, waiting = hashlib.md5(usedforsecurity=False), 0, bytearray()
    file = await asyncio.to_thread(path.open, "xb")

    def flush(data: bytearray) -> None:
        md5.update(data)
        file.write(data)

    try:
        async for chunk in chunks:
            size += len(chunk)
            waiting += chunk
            if len(waiting) >= _CHUNK:
                await asyncio.to_thread(flush, waiting)
                waiting = bytearray()
        await asyncio.to_thread(flush, waiting)
    finally:
        await asyncio.to_thread(file.close)
    return WrittenFile(size, md5.hexdigest())


async def deflated(content: AsyncGenerator[Bytes, None], size: int) -> AsyncGenerator[Bytes, None]:
    """Compress a content of `size` bytes, as it is stored."""
    yield size.to_bytes(LENGTH_BYTES, "little")
    stream = zlib.compressobj()
    async with aclosing(content):
        async for chunk in content:
            if made := await asyncio.to_thread(stream.compress, chunk):
                yield made
    yield await asyncio.to_thread(stream.flush)


async def _inflated(objects: Objects, found: Attachment, offset: int, length: int) -> AsyncGenerator[Bytes, None]:
    """Yield `length` bytes of a compressed content from `offset` on."""
    stream, skip = zlib.decompressobj(), offset
    source = read_range(objects, found.key, LENGTH_BYTES, found.stored_size - LENGTH_BYTES)
    async with aclosing(source):
        async for chunk in source:
            rest: Bytes = chunk
            while rest and length:
                try:
                    data = await asyncio.to_thread(stream.decompress, rest, _CHUNK)
                except zlib.error as error:
                    raise StoredDataUnreadable(f"{found.key} cannot be decompressed: {error}") from None
                rest = stream.unconsumed_tail
                piece = data[skip : skip + length]
                skip = max(0, skip - len(data))
                length -= len(piece)
                if piece:
                    yield piece
    if length:
        raise StoredDataUnreadable(f"{found.key} ends {length} bytes too early when it is decompressed")
