"""ZIP archives from outside: a bounded directory, bounded output, one entry at a time. Blocks: call it in threads."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final

from typing_extensions import override

from osteon_query.http.errors import BadBody, TooLarge
from osteon_query.packs.body_files import SMALL, ReceivedFile

_MAX_DIRECTORY: Final = 16 << 20
"""Bytes of the central directory, which is read as a whole."""
_ENTRY: Final = b"PK\x01\x02"
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""What Python unpacks piece by piece. A MiB of bzip2 may become 20 GB at once, and LZMA has no bound of memory."""
_CHUNK: Final = 1 << 20
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)
"""What Python's zipfile raises for archives that are broken, encrypted or compressed in an unknown way."""


class _File(io.FileIO):
    """An archive's file, of which Python's zipfile cannot read much at once: a declared size is not trusted."""

    def __init__(self, path: Path, max_entries: int) -> None:
        super().__init__(path)
        self._max_entries = max_entries

    @override
    def read(self, size: int | None = -1, /) -> bytes:
        """Raise `TooLarge` for what would be too long a directory, or one of too many entries."""
        left = os.fstat(self.fileno()).st_size - self.tell()
        if (left if size is None or size < 0 else min(size, left)) > _MAX_DIRECTORY:
            raise TooLarge(f"the directory of the ZIP archive is longer than {_MAX_DIRECTORY} bytes")
        data = super().read(-1 if size is None else size)
        if data.count(_ENTRY) > self._max_entries:
            raise TooLarge(f"the ZIP archive has more than {self._max_entries} entries (OSTEON_MAX_UPLOAD_FILES)")
        return data


class ZipArchive:
    """An archive whose entries may give `limit` bytes altogether."""

    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile, limit: int) -> None:
        self._file = file
        self._archive = archive
        self._limit = limit
        self._left = limit

    @classmethod
    def open(cls, path: Path, max_entries: int, limit: int) -> "ZipArchive":
        """Open an archive; raises `BadBody`, and `TooLarge` for one with too long a directory."""
        file = _File(path, max_entries)
        try:
            return cls(file, zipfile.ZipFile(file), limit)
        except _BROKEN as error:
            file.close()
            raise BadBody(f"the ZIP archive cannot be read: {error}") from None
        except BaseException:
            file.close()
            raise

    def files(self) -> Iterator[zipfile.ZipInfo]:
        """Iterate over the entries that are files."""
        # Not by is_dir, which fails for an entry without a name.
        return (entry for entry in self._archive.infolist() if not entry.filename.endswith("/"))

    def extract(self, entry: zipfile.ZipInfo, path: Path) -> ReceivedFile:
        """Unpack an entry, to `path` unless it is small, counting the bytes instead of trusting the declared size."""
        if entry.compress_type not in _METHODS:
            raise BadBody(f"the ZIP entry {entry.filename[:200]!r} is neither stored nor deflated")
        try:
            with self._archive.open(entry) as source:
                chunk = self._read(source, SMALL + 1)
                if len(chunk) <= SMALL:
                    return ReceivedFile(path, len(chunk), chunk)
                with path.open("xb") as target:
                    while chunk:
                        target.write(chunk)
                        chunk = self._read(source, _CHUNK)
                    return ReceivedFile(path, target.tell())
        except _BROKEN as error:
            raise BadBody(f"the ZIP entry {entry.filename[:200]!r} cannot be unpacked: {error}") from None

    def _read(self, source: IO[bytes], size: int) -> bytes:
        chunk = source.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise TooLarge(f"the ZIP archive unpacks to more than {self._limit} bytes (OSTEON_MAX_UPLOAD_BYTES)")
        return chunk

    def close(self) -> None:
        """Close the archive and its file."""
        self._archive.close()
        self._file.close()
