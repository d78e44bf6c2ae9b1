"""A folder for files in flight. A process that was killed leaves its folder behind; the next start removes it.

Each folder is held by a lock that ends with the process, so that replicas may share a TMPDIR.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from osteon.logging import get_logger

log = get_logger(__name__)


async def enter_scratch_dir(stack: AsyncExitStack, service: str, parent: Path | None = None) -> Path:
    """Return a new folder in `parent`, or in TMPDIR, that is removed when `stack` ends."""
    folder = scratch_dir(service, parent)
    path = await asyncio.to_thread(folder.__enter__)
    stack.push_async_callback(asyncio.to_thread, folder.__exit__, None, None, None)
    return path


@contextmanager
def scratch_dir(service: str, parent: Path | None = None) -> Iterator[Path]:
    """Remove stale folders, then make a new one in `parent`, or in TMPDIR, which is removed at the end. Blocks."""
    parent, prefix = parent or Path(tempfile.gettempdir()), f"osteon-{service}-"
    parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(parent, prefix)
    path, fd = _make(parent, prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # another process took it for a stale one before it was locked
        fcntl.flock(fd, fcntl.LOCK_EX)
        if path.exists():
            return path, fd
        os.close(fd)


def _remove_stale(parent: Path, prefix: str) -> None:
    for path in parent.glob(f"{prefix}*"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # another user's, or gone meanwhile
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
            log.info("stale scratch folder removed", folder=str(path))
        except BlockingIOError:
            continue
        except OSError as error:
            log.warning("stale scratch folder cannot be removed", folder=str(path), error=str(error))
        finally:
            os.close(fd)
