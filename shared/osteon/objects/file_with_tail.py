"""A file with another end, read as if it were one: nothing is copied for an upload."""

import io
import os
import sys
from typing import BinaryIO

from osteon.objects.port import FileTail


class FileWithTail(io.RawIOBase, BinaryIO):
    """The first `tail.start` bytes of `file`, then the tail. The caller closes the file.

    Raises `OSError` when the file is shorter.
    """

    def __init__(self, file: BinaryIO, tail: FileTail) -> None:
        self._file = file
        self._start = tail.start
        self._tail = memoryview(tail.data)
        self._position = 0

    def readable(self) -> bool:
        """Say that it is made to be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read again."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, counted from the beginning or the end."""
        self._position = offset + (self._start + len(self._tail) if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """Return where the next byte comes from."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, as far as one of the two parts goes; none at the end."""
        size = sys.maxsize if size < 0 else size
        left = self._start - self._position
        if left > 0:
            self._file.seek(self._position)
            data = self._file.read(min(size, left))
            if not data:
                raise OSError(f"the file has {self._position} bytes, not {self._start}")
        else:
            data = bytes(self._tail[-left : size - left])
        self._position += len(data)
        return data
