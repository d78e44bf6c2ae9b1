"""Request bodies and their parts as files, in constant memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

from osteon.objects.port import Bytes
from osteon_query.http.bodies import multipart_events
from osteon_query.http.multipart_parser import PartEnd, PartStart
from osteon_query.packs.part10 import missing_preamble

_BUFFER: Final = 1 << 20


class FileWriter:
    """Writes a new file in chunks of at least 1 MiB, in threads; a smaller one takes a single step.

    DICOM files without preamble and prefix get them.
    """

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
            full[:0] = missing_preamble(full)
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


async def write_file(chunks: AsyncIterator[bytes], path: Path) -> None:
    """Write a body to a new file."""
    async with writing(path) as file:
        async for chunk in chunks:
            await file.write(chunk)


async def write_parts(
    chunks: AsyncIterator[bytes], boundary: bytes, new_path: Callable[[], Path]
) -> AsyncGenerator[tuple[PartStart, Path, int], None]:
    """Write each part of a multipart body to a new file; yields its headers, the file and its length in bytes."""
    events = multipart_events(chunks, boundary)
    async for part in events:
        assert isinstance(part, PartStart)
        path = new_path()
        async with writing(path) as file:
            async for piece in events:
                if isinstance(piece, PartEnd):
                    break
                assert isinstance(piece, memoryview)
                await file.write(piece)
        yield part, path, file.size
