"""Durable files below a root folder: what `FolderObjects` does in its threads.

A file appears by a rename, after its bytes and before its folders are synced: it is complete or absent, also after a
power cut. What a crash leaves behind is in `.tmp`, which no key can name.
"""

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from osteon.byte_caches import ByteCache
from osteon.objects.port import FileTail
from osteon.private_files import make_private_folder

CHUNK = 1 << 20
REMEMBERED_BYTES = 2 << 20
"""Of memory for the folders of which is remembered that their names are on the disk."""
_OWN_NAMES = 2
"""Names of a file that is being linked: its own and the temporary one."""
ABANDONED_SECONDS = 600
"""A file in `.tmp` that was not touched for this long belongs to a process that ended."""


class DurableFolder:
    """Files named by keys below `root`. Blocking; raises the `OSError` of the operating system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / ".tmp"
        self._cleaned = False
        self._naming = threading.Lock()
        self._lasting: ByteCache[str, None] = ByteCache("durable_folders", REMEMBERED_BYTES, lambda path, _: len(path))

    def write(self, key: str, data: bytes) -> None:
        """Store `data` durably under `key`."""
        self._place(key, lambda tmp: _write_synced(tmp, data))

    def adopt(self, key: str, path: Path, tail: FileTail | None = None) -> None:
        """Store the file at `path`: a link to it when the file system can, else a copy.

        With a `tail` a file that has no other name gets it and is linked then. One that has may be an object, which is
        never written to: it is that object with that tail already, or it is copied.
        """
        target = self.root / key
        with path.open("rb") as source:
            if tail and target.exists() and target.samefile(path) and _ends_with(source, tail):
                self._sync_names(target)
            else:
                self._place(key, lambda tmp: _link_or_copy(path, source, tmp, tail))

    def remove(self, key: str) -> None:
        """Remove the file if it is there, and the folders that are empty then."""
        target = self.root / key
        if target.is_dir():
            return
        with suppress(FileNotFoundError, NotADirectoryError):
            target.unlink()
            _sync_folder(target.parent)
        with self._naming, suppress(OSError):  # not empty, or gone already
            for folder in self._above(target)[:-1]:
                folder.rmdir()

    def probe(self) -> None:
        """Write and remove a small file."""
        self._prepare()
        tmp = self._tmp / uuid.uuid4().hex
        tmp.write_bytes(b"?")
        tmp.unlink()

    def walk(self, folder: str, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Iterate over the files below `folder` whose key starts with `prefix`, in the order of keys."""
        for name, is_folder in _entries(self.root / folder):
            key = f"{folder}/{name}" if folder else name
            if is_folder:
                if f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self.walk(key, prefix)
            elif key.startswith(prefix):
                with suppress(FileNotFoundError):  # deleted since
                    yield key, (self.root / key).stat()

    def _place(self, key: str, fill: Callable[[Path], None]) -> None:
        """Let `fill` make a synced temporary file, then give it its name durably."""
        self._prepare()
        tmp = self._tmp / uuid.uuid4().hex
        target = self.root / key
        try:
            fill(tmp)
            self._rename(tmp, target)
        finally:
            # Also on success: a rename of two links to the same file leaves both.
            tmp.unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # deleted since, and the folder with it
            self._sync_names(target)

    def _sync_names(self, target: Path) -> None:
        """Make the names on the way to `target` last; those of folders that are known to last need it no more."""
        made = []
        for folder in self._above(target):
            _sync_folder(folder)
            if str(folder) in self._lasting:
                break
            made.append(str(folder))
        with self._naming:
            for name in made:
                self._lasting[name] = None

    def _rename(self, tmp: Path, target: Path) -> None:
        for last in (False, False, True):
            try:
                with self._naming:
                    for folder in takewhile(lambda folder: not folder.exists(), self._above(target)):
                        self._lasting.forget(str(folder))
                    target.parent.mkdir(parents=True, exist_ok=True)
                    tmp.replace(target)
                return
            except (FileNotFoundError, FileExistsError):  # another process removes the folder just now
                if last:
                    raise

    def _above(self, target: Path) -> list[Path]:
        """Return the folders from that of `target` up to the root."""
        parents = list(target.parents)
        return parents[: parents.index(self.root) + 1]

    def _prepare(self) -> None:
        self._make_root()
        if self._cleaned:
            return
        self._cleaned = True
        oldest = time.time() - ABANDONED_SECONDS
        for tmp in self._tmp.iterdir():
            # The time of change, because a link keeps the time of modification of its source.
            with suppress(FileNotFoundError):
                if tmp.stat().st_ctime < oldest:
                    tmp.unlink()

    def _make_root(self) -> None:
        made = not self.root.exists()
        try:
            if made:
                make_private_folder(self.root)
            self._tmp.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise OSError(f"{self.root} is not a folder") from None
        if made:
            _sync_folder(self.root.parent)


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Return (name, is folder) in the order of keys, where a folder counts with the slash that follows its name."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda entry: f"{entry[0]}/" if entry[1] else entry[0])


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _ends_with(source: BinaryIO, tail: FileTail) -> bool:
    source.seek(tail.start)
    return source.read(len(tail.data) + 1) == tail.data


def _link_or_copy(path: Path, source: BinaryIO, tmp: Path, tail: FileTail | None) -> None:
    try:
        os.link(path, tmp)
    except OSError:  # another file system, one without links, or too many of them: the copy fails if the disk does
        _copy(source, tmp, tail)
        return
    if tail is None:
        os.fsync(source.fileno())
    elif os.fstat(source.fileno()).st_nlink == _OWN_NAMES:
        with tmp.open("r+b") as file:
            _end(file, tail)
    else:
        tmp.unlink()
        _copy(source, tmp, tail)


def _copy(source: BinaryIO, tmp: Path, tail: FileTail | None) -> None:
    source.seek(0)
    with tmp.open("xb") as file:
        shutil.copyfileobj(source, file, CHUNK)
        _end(file, tail)


def _end(file: BinaryIO, tail: FileTail | None) -> None:
    """Let a file end with the tail, if there is one, and sync it."""
    if tail is not None:
        file.seek(tail.start)
        file.write(tail.data)
        file.truncate()
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
