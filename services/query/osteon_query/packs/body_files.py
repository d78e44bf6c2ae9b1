"""Request bodies and their parts as files, in constant memory."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from osteon.dicom.bare_files import read_meta
from osteon.multipart import MultipartEvent, PartEnd, PartStart, multipart_events
from osteon.objects.port import Bytes
from osteon_query.http.errors import BadBody

_BUFFER: Final = 1 << 20
SMALL: Final = 32 << 10
"""Bytes of a part that gets no file while it is received."""


@dataclass(slots=True)
class ReceivedFile:
    """A file of a request: at `path`, or with its content in memory and `path` as its name from `save` on."""

    path: Path
    size: int
    data: bytes | None = None

    def check(self) -> None:
        """Raise `BadBody` or `BadPart10` when what is in memory is obviously not a DICOM file."""
        if self.data is not None:
            if not self.data:
                raise BadBody("the file is empty")
            read_meta(self.data)

    def prepend(self, beginning: bytes) -> None:
        """Put bytes in front of the file. Blocks: call it in a thread."""
        self.size += len(beginning)
        if self.data is not None:
            self.data = beginning + self.data
            return
        whole = self.path.with_suffix(".part")
        with self.path.open("rb") as source, whole.open("xb") as target:
            target.write(beginning)
            shutil.copyfileobj(source, target, _BUFFER)
        whole.replace(self.path)

    def save(self) -> Path:
        """Write the file if it is in memory, and return its path. Blocks: call it in a thread."""
        if self.data is not None:
            with self.path.open("xb", buffering=0) as file:
                file.write(self.data)
            self.data = None
        return self.path

    async def delete(self) -> None:
        """Delete the file."""
        if self.data is None:
            await asyncio.to_thread(self.path.unlink)
        self.data = None


class FileWriter:
    """Writes a new file in chunks of at least 1 MiB, in threads; a smaller one takes a single step."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self.size = 0

    async def write(self, data: Bytes) -> None:
        """Append `data`, and write the file once 1 MiB has gathered."""
        self._buffer += data
        self.size += len(data)
        if len(self._buffer) >= _BUFFER:
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        full, self._buffer = self._buffer, bytearray()
        if self._file is None:
            self._file = self._path.open("xb", buffering=0)
        left = memoryview(full)
        while left:
            left = left[self._file.write(left) :]

    def finish(self) -> None:
        """Write what is left and close the file. Blocks: call it in a thread."""
        try:
            self._flush()
        finally:
            self.close()

    def close(self) -> None:
        """Close the file as it is."""
        if self._file is not None:
            self._file.close()


@asynccontextmanager
async def writing(path: Path) -> AsyncGenerator[FileWriter, None]:
    """Write a new file; it is complete when the context ends without an error."""
    writer = FileWriter(path)
    try:
        yield writer
    except BaseException:
        await asyncio.to_thread(writer.close)
        raise
    await asyncio.to_thread(writer.finish)


async def write_file(chunks: AsyncIterator[bytes], path: Path) -> ReceivedFile:
    """Write a body to a new file."""
    async with writing(path) as file:
        async for chunk in chunks:
            await file.write(chunk)
    return ReceivedFile(path, file.size)


async def write_parts(
    chunks: AsyncIterator[bytes], boundary: bytes, new_path: Callable[[], Path]
) -> AsyncGenerator[tuple[PartStart, ReceivedFile], None]:
    """Yield the headers and the content of each part of a multipart body; what is not small is in a new file."""
    events = multipart_events(chunks, boundary)
    async for part in events:
        assert isinstance(part, PartStart)
        path = new_path()
        small = bytearray()
        async for piece in events:
            if isinstance(piece, PartEnd):
                yield part, ReceivedFile(path, len(small), bytes(small))
                break
            assert isinstance(piece, memoryview)
            small += piece
            if len(small) > SMALL:
                yield part, await _write_part(events, path, small)
                break


async def _write_part(events: AsyncIterator[MultipartEvent], path: Path, start: bytearray) -> ReceivedFile:
    async with writing(path) as file:
        await file.write(memoryview(start))
        async for piece in events:
            if isinstance(piece, PartEnd):
                break
            assert isinstance(piece, memoryview)
            await file.write(piece)
    return ReceivedFile(path, file.size)
