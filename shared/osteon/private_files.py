"""Folders and files that only the user of the service may read: they hold patients' data, and passwords of peers."""

import os
import stat
from pathlib import Path
from typing import Final

from osteon.logging import get_logger

UMASK: Final = 0o077
"""Permissions that nothing has which a service makes: those of its group and of others."""
_OTHERS: Final = 0o007

log = get_logger(__name__)


def make_private_folder(folder: Path) -> None:
    """Make a folder and those above it, or make one that exists private. Blocks; raises `OSError`."""
    folder.mkdir(mode=0o777 & ~UMASK, parents=True, exist_ok=True)
    make_private(folder)


def make_private(path: Path) -> None:
    """Withdraw the permissions of group and others on what is there; warn when its owner is another user. Blocks.

    A folder that another user gave this one by its group, as Kubernetes does with volumes, stays as it is.
    """
    try:
        found = path.stat()
        if not found.st_mode & UMASK:
            return
        if found.st_uid == os.geteuid():
            path.chmod(stat.S_IMODE(found.st_mode) & ~UMASK)
            log.info("permissions of others withdrawn", path=str(path))
            return
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("permissions cannot be changed", path=str(path), error=error.strerror)
        return
    if found.st_mode & _OTHERS:
        log.warning(
            "other users may read what is stored here", path=str(path), mode=f"{stat.S_IMODE(found.st_mode):04o}"
        )
