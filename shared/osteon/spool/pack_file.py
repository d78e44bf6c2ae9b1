"""One open pack: a TAR file that grows by whole members and knows how much of it is durable.

Every method blocks and belongs to the one thread that works for the pack's association at that moment.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from osteon.packs.ids import new_pack_id
from osteon.packs.tar import BLOCK, END_OF_ARCHIVE, ZEROS, encode_header, padding
from osteon.spool.disk import Disk
from osteon.spool.errors import SpoolFailed
from osteon.spool.paths import OPEN, SEALED

Buffer = bytes | memoryview
_NOWHERE: Final = -1
"""Where the end of the archive is while it was not written behind the last member."""


class PackFile:
    """A pack being written.

    Attributes:
        size: bytes up to the end of the last whole member.
        durable: bytes that are known to be on the disk. A member that ends at or before this is durable.
        instances: whole members.
        broken: why nothing more may be written to this file; None while it is intact.
        sync_failed: a sync failed, so that not even a later one of this file proves anything.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.pack_id = new_pack_id()
        self.folder = folder
        self.path = folder / f"{self.pack_id}{OPEN}"
        self.size = 0
        self.durable = 0
        self.instances = 0
        self.durable_instances = 0
        self.broken: OSError | None = None
        self.sync_failed = False
        self._disk = disk
        self._name_durable = False
        self._ended_at = _NOWHERE
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    @property
    def dirty(self) -> bool:
        """Whether a whole member is not known to be on the disk."""
        return self.durable < self.size

    def append(self, name: str, mtime: int, header: bytes, content: Buffer) -> int:
        """Add a whole member; return its length in the file. Raises `SpoolFailed`."""
        length = len(header) + len(content)
        # With the end of the archive behind it, nothing is left to write and to sync when the pack is sealed.
        end = ZEROS[: padding(length)] + END_OF_ARCHIVE
        self._write(self.size, (encode_header(name, length, mtime), header, content, end))
        length = self.complete(BLOCK + length)
        self._ended_at = self.size
        return length

    def write(self, offset: int, parts: Sequence[Buffer]) -> None:
        """Write into the member that is being added, `offset` bytes after its beginning. Raises `SpoolFailed`."""
        self._ended_at = _NOWHERE
        self._write(self.size + offset, parts)

    def complete(self, length: int) -> int:
        """Make the `length` bytes after the last member one more member; return that with its padding."""
        length += padding(length)
        self.size += length
        self.instances += 1
        return length

    def rewind(self) -> None:
        """Remove what was written after the last whole member."""
        if self.broken is not None:
            return
        self._ended_at = _NOWHERE
        try:
            self._disk.truncate(self._fd, self.size)
        except OSError as error:
            self.broken = error

    def sync(self) -> None:
        """Make every whole member durable; the file is `broken` when that fails."""
        if self.broken is None and self.dirty:
            self._sync_members()

    def seal(self) -> Path | None:
        """End the archive durably and give it its final name; return None when the file is `broken`, now or before."""
        if self.broken is not None:
            return None
        if self._ended_at != self.size:
            try:
                self._disk.write(self._fd, self.size, (END_OF_ARCHIVE,))
            except OSError as error:
                self.broken = error
                return None
            if not self._sync_members():
                return None
        elif self.dirty and not self._sync_members():
            return None
        try:
            self.path = self.path.rename(self.folder / f"{self.pack_id}{SEALED}")
            self._disk.sync_folder(self.folder)
        except OSError as error:
            self.broken = error
            return None
        self.close()
        return self.path

    def discard(self) -> None:
        """Remove the file: nothing in it was acknowledged."""
        self.close()
        self.path.unlink(missing_ok=True)

    def truncate_to_durable(self) -> None:
        """Truncate a broken file to what was acknowledged, as far as possible, and close it."""
        try:
            if self.dirty:
                self._disk.truncate(self._fd, self.durable)
        except OSError as error:
            self.broken = error
        self.close()

    @contextmanager
    def mapped(self, offset: int, length: int) -> Iterator[memoryview]:
        """Map `length` bytes of the member that is being added, `offset` bytes after its beginning."""
        start = self.size + offset
        whole = mmap.mmap(self._fd, start + length, access=mmap.ACCESS_READ)
        view = memoryview(whole)[start:]
        try:
            yield view
        finally:
            view.release()
            with suppress(BufferError):  # a traceback may still hold a slice; the mapping then goes with it
                whole.close()

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _sync_members(self) -> bool:
        try:
            self._disk.sync(self._fd)
            if not self._name_durable:
                self._disk.sync_folder(self.folder)
                self._name_durable = True
        except OSError as error:
            self.broken, self.sync_failed = error, True
            return False
        self.durable, self.durable_instances = self.size, self.instances
        return True

    def _write(self, offset: int, parts: Sequence[Buffer]) -> None:
        if self.broken is not None:
            raise SpoolFailed(f"the pack {self.pack_id} cannot be written: {self.broken}")
        try:
            self._disk.write(self._fd, offset, parts)
        except OSError as error:
            self.rewind()
            raise SpoolFailed(f"instance not written: {error.strerror or error}") from error
