"""ZIP archives from outside: a bounded directory, bounded output, one entry at a time. Blocks: call it in threads."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from osteon_query.http.errors import BadBody, TooLarge
from osteon_query.packs.part10 import missing_preamble

_END: Final = b"PK\x05\x06"
_END64: Final = b"PK\x06\x06"
_LOCATOR64: Final = b"PK\x06\x07"
_TAIL: Final = 22 + 65_535
_MAX_DIRECTORY: Final = 16 << 20
"""Bytes of the central directory, which is read as a whole."""
_CHUNK: Final = 1 << 20
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)
"""What Python's zipfile raises for archives that are broken, encrypted or compressed in an unknown way."""


class Zip:
    """An archive whose entries may give `limit` bytes altogether."""

    def __init__(self, file: BinaryIO, archive: zipfile.ZipFile, limit: int) -> None:
        self._file = file
        self._archive = archive
        self._limit = limit
        self._left = limit

    @classmethod
    def open(cls, path: Path, limit: int) -> "Zip":
        """Open an archive; raises `BadBody`, and `TooLarge` for one with too long a directory."""
        file = path.open("rb")
        try:
            if _directory_size(file) > _MAX_DIRECTORY:
                raise TooLarge(f"the directory of the ZIP archive is longer than {_MAX_DIRECTORY} bytes")
            return cls(file, zipfile.ZipFile(file), limit)
        except _BROKEN as error:
            file.close()
            raise BadBody(f"the ZIP archive can not be read: {error}") from None
        except BaseException:
            file.close()
            raise

    def files(self) -> Iterator[zipfile.ZipInfo]:
        """Iterate over the entries that are files."""
        return (entry for entry in self._archive.infolist() if not entry.is_dir())

    def extract(self, entry: zipfile.ZipInfo, path: Path) -> None:
        """Write an entry's content to `path`, counting what comes out, whatever the entry claims."""
        try:
            with self._archive.open(entry) as source, path.open("xb") as target:
                while chunk := source.read(_CHUNK):
                    self._left -= len(chunk)
                    if not target.tell():
                        target.write(missing_preamble(chunk))
                    if self._left < 0:
                        raise TooLarge(
                            f"the ZIP archive unpacks to more than {self._limit} bytes (OSTEON_UPLOAD_LIMIT)"
                        )
                    target.write(chunk)
        except _BROKEN as error:
            raise BadBody(f"the ZIP entry {entry.filename[:200]!r} can not be unpacked: {error}") from None

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()
        self._file.close()


def _directory_size(file: BinaryIO) -> int:
    """Return the length of the central directory as the end record states it (APPNOTE 4.3.14 to 4.3.16)."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0:
        raise BadBody("the ZIP archive has no end record: it is cut short")
    (length,) = struct.unpack_from("<L", tail, end + 12)
    locator = end - 20
    if locator < 0 or tail[locator : locator + 4] != _LOCATOR64:
        return int(length)
    (offset,) = struct.unpack_from("<Q", tail, locator + 8)
    file.seek(min(offset, size))
    record = file.read(56)
    if len(record) < 56 or record[:4] != _END64:
        raise BadBody("the ZIP archive has no ZIP64 end record where its locator points")
    return int(struct.unpack_from("<Q", record, 40)[0])
