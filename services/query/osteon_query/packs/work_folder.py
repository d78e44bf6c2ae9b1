"""The folder for uploads in flight. A process that was killed leaves its folder behind; the next start removes it.

Each folder is held by a lock that ends with the process, so that replicas may share a TMPDIR.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from osteon.logging import get_logger

_PREFIX: Final = "osteon-query-"
log = get_logger(__name__)


@contextmanager
def work_folder() -> Iterator[Path]:
    """Remove what nobody holds, then lend a new folder in TMPDIR, which is removed at the end. Blocks."""
    _remove_stale(Path(tempfile.gettempdir()))
    path, fd = _make()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def _make() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # somebody took it for a stale one before it was locked
        fcntl.flock(fd, fcntl.LOCK_EX)
        if path.exists():
            return path, fd
        os.close(fd)


def _remove_stale(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another user's, or gone meanwhile
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
            log.info("folder of a process that was killed removed", folder=str(path))
        except BlockingIOError:
            continue
        except OSError as error:
            log.warning("folder of a process that was killed can not be removed", folder=str(path), error=str(error))
        finally:
            os.close(fd)
