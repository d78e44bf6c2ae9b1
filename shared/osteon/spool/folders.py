"""The folders of a spool: each process has a folder of its own, held by a file lock that ends with the process.

A folder whose lock is free is an orphan; the process that takes its lock owns it. Folders are created, adopted and
removed only under a lock on the whole spool, held for a moment, so that no process sees one half made or half removed.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from osteon.private_files import make_private_folder
from osteon.spool.disk import Disk

LOCK: Final = "lock"
"""The file in each folder that is locked."""
_ROOT_LOCK: Final = ".lock"


class SpoolFolder:
    """A folder that this process holds."""

    def __init__(self, root: Path, path: Path, fd: int) -> None:
        self.root = root
        self.path = path
        self._fd = fd

    @classmethod
    def create(cls, root: Path, disk: Disk) -> "SpoolFolder":
        """Create a folder of this process; `root` is created when absent."""
        make_private_folder(root)
        with _root_lock(root):
            path = root / uuid.uuid4().hex
            path.mkdir(mode=0o700)
            fd = _try_lock(path)
            assert fd is not None  # no other process may see it yet
            disk.sync_folder(root)
            return cls(root, path, fd)

    @classmethod
    def adopt(cls, root: Path) -> list["SpoolFolder"]:
        """Take over every folder that no process holds."""
        with _root_lock(root):
            folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink())
            locks = ((path, _try_lock(path)) for path in folders)
            return [cls(root, path, fd) for path, fd in locks if fd is not None]

    def files(self) -> list[Path]:
        """Return what is in the folder, oldest pack first."""
        return contents(self.path)

    def release(self) -> None:
        """Release the folder, and remove it when nothing is left in it."""
        with _root_lock(self.root):
            if not self.files():
                (self.path / LOCK).unlink()
                self.path.rmdir()
            os.close(self._fd)


def contents(folder: Path) -> list[Path]:
    """Return what is in a folder of the spool, oldest pack first."""
    return sorted(path for path in folder.iterdir() if path.name != LOCK)


def files(root: Path) -> Iterator[Path]:
    """Iterate over the files in all folders of a spool, those of other processes too; they come and go meanwhile."""
    for folder in root.iterdir():
        with suppress(FileNotFoundError, NotADirectoryError):
            yield from sorted(folder.iterdir())


def orphans(root: Path) -> list[Path]:
    """Return the folders that no process holds, without taking any of them."""
    found = []
    with _root_lock(root):
        for lock in sorted(root.glob(f"*/{LOCK}")):
            fd = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(lock.parent)
            except BlockingIOError:
                continue
            finally:
                os.close(fd)
    return found


@contextmanager
def _root_lock(root: Path) -> Iterator[None]:
    fd = os.open(root / _ROOT_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _try_lock(folder: Path) -> int | None:
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
