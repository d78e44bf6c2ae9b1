"""The few system calls on which durability depends, in one place, so that tests can make them fail."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from osteon import metrics


class Disk:
    """Writes and syncs. Every method raises `OSError`; none retries what must not be retried."""

    def write(self, fd: int, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        """Write all parts one after the other from `offset` on."""
        views = [memoryview(part) for part in parts if len(part)]
        while views:
            written = os.pwritev(fd, views, offset)
            offset += written
            views = _remaining(views, written)

    def sync(self, fd: int) -> None:
        """Return once content and length of a file are on the disk.

        After an error nothing is known of what was written since the last success, and a later call that succeeds does
        not change that: the kernel reports a lost page once.
        """
        with metrics.SPOOL_SYNC_SECONDS.time():
            if sys.platform == "darwin":
                import fcntl

                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in a folder are on the disk."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Truncate a file to `size` bytes."""
        os.ftruncate(fd, size)

    def free(self, folder: Path) -> tuple[int, int]:
        """Return (bytes that are free for this process, bytes that are used) of the file system of `folder`."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize, (found.f_blocks - found.f_bfree) * found.f_frsize


def _remaining(views: list[memoryview], written: int) -> list[memoryview]:
    remaining = []
    for view in views:
        if written < len(view):
            remaining.append(view[written:])
        written = max(0, written - len(view))
    return remaining
