"""Objects as files below one folder, for one machine."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from osteon.objects.files import CHUNK, DurableFolder
from osteon.objects.keys import check_key, check_prefix, check_range
from osteon.objects.object_metrics import measured
from osteon.objects.port import BadObjectKey, FileTail, ObjectInfo, ObjectNotFound, ObjectsUnavailable

_LISTED_AT_ONCE = 500

T = TypeVar("T")


class FolderObjects:
    """The port `Objects` on a folder, which is made when absent. Every method works in threads.

    A full, read-only or broken disk raises `ObjectsUnavailable`. A file and a folder cannot have the same name, so
    with `a` stored, `a/b` is a `BadObjectKey`; no key of Osteon is the beginning of another one.
    """

    remote = False

    def __init__(self, root: Path) -> None:
        self._folder = DurableFolder(root.absolute())

    async def put_file(self, key: str, path: Path, tail: FileTail | None = None) -> None:
        """Link the file on the same file system, else copy it. Raises `FileNotFoundError` when `path` is absent.

        A file that is linked gets the tail itself, so its bytes are written once.
        """
        await self._store("put_file", key, lambda: self._folder.adopt(key, path, tail))

    async def put(self, key: str, data: bytes) -> None:
        """Store `data` durably, replacing what was there."""
        await self._store("put", key, lambda: self._folder.write(key, data))

    async def get(self, key: str, offset: int = 0) -> bytes:
        """Return a (small) object from `offset` to its end; raises `ObjectNotFound`, or `Invalid` beyond the end."""

        def read(path: Path) -> bytes:
            with path.open("rb") as file:
                return file.read(_seek(key, file, offset, None))

        return await self._read("get", key, read)

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; raises `ObjectNotFound`, or `Invalid` beyond the end."""

        def read(path: Path) -> bytes:
            with path.open("rb") as file:
                left = _seek(key, file, offset, length)
                return file.read(left)

        return await self._read("get_range", key, read)

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[memoryview]:
        """Iterate in chunks of at most 1 MiB; the first step raises `ObjectNotFound`, or `Invalid` beyond the end."""
        file, left = await self._read("stream", key, lambda path: _open(key, path, offset, length))
        try:
            while left:
                chunk = memoryview(bytearray(min(CHUNK, left)))
                if _at_hand(file, chunk):
                    await asyncio.sleep(0)  # a fast client would have the loop for itself
                else:
                    chunk = chunk[: await self._run(partial(file.readinto, chunk))]
                if not chunk:
                    raise ObjectsUnavailable(f"the file of object {key!r} became shorter while it was read")
                left -= len(chunk)
                yield chunk
        finally:
            file.close()

    async def size(self, key: str) -> int:
        """Return the object's length in bytes; raises `ObjectNotFound`."""
        return await self._read("size", key, _size)

    def path(self, key: str) -> Path:
        """Return the file in which the object is, if it is there."""
        check_key(key)
        return self._folder.root / key

    async def delete(self, key: str) -> None:
        """Delete the object and the folders that it leaves empty; an absent one is not an error."""
        check_key(key)
        with measured("delete"):
            await self._run(lambda: self._folder.remove(key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Iterate in the order of keys. Memory: the names in one folder and in those above it."""
        check_prefix(prefix)
        found = self._folder.walk(prefix.rpartition("/")[0], prefix)
        while batch := await self._run(lambda: list(islice(found, _LISTED_AT_ONCE))):
            for key, facts in batch:
                yield ObjectInfo(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    async def check(self) -> None:
        """Raise `ObjectsUnavailable` when a file cannot be written now."""
        with measured("check"):
            await self._run(self._folder.probe)

    async def _store(self, operation: str, key: str, work: Callable[[], None]) -> None:
        check_key(key)
        with measured(operation):
            try:
                await self._run(work)
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                raise BadObjectKey(
                    f"the object key {key!r} needs a folder where an object is, or the reverse"
                ) from None

    async def _read(self, operation: str, key: str, work: Callable[[Path], T]) -> T:
        check_key(key)
        with measured(operation):
            try:
                return await self._run(lambda: work(self._folder.root / key))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ObjectNotFound(f"there is no object {key!r}") from None

    async def _run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread; a disk that does not serve becomes `ObjectsUnavailable`."""
        try:
            return await asyncio.to_thread(work)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError):
            raise
        except OSError as error:
            raise ObjectsUnavailable(f"the folder of objects cannot be used: {error}") from error


def _at_hand(file: FileIO, chunk: memoryview) -> bool:
    """Fill `chunk` if the system has all of it in memory, without the thread that waiting for a disk needs."""
    try:
        count = os.preadv(file.fileno(), [chunk], file.tell(), os.RWF_NOWAIT)
    except (AttributeError, OSError):  # not supported by this system or file system
        return False
    if count < len(chunk):
        return False
    file.seek(count, os.SEEK_CUR)
    return True


def _open(key: str, path: Path, offset: int, length: int | None) -> tuple[FileIO, int]:
    """Open the file at `offset`; return it and the bytes to read."""
    file = path.open("rb", buffering=0)
    try:
        return file, _seek(key, file, offset, length)
    except BaseException:
        file.close()
        raise


def _seek(key: str, file: BinaryIO, offset: int, length: int | None) -> int:
    left = check_range(key, os.fstat(file.fileno()).st_size, offset, length)
    file.seek(offset)
    return left


def _size(path: Path) -> int:
    facts = path.stat()
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError
    return facts.st_size
