"""Paths of sealed packs, for the services that share a spool volume with the ingress that filled it."""

from pathlib import Path, PurePosixPath
from typing import Final

from osteon.byte_caches import cached
from osteon.spool.errors import BadPath

SEALED: Final = ".tar"
OPEN: Final = ".tar.part"
DAMAGED: Final = ".damaged"


def resolve(root: Path, relative: str) -> Path:
    """Return the absolute path of a sealed pack that a message names; raises `BadPath` when it leaves the spool.

    The file need not exist: a pack that was stored already is gone.
    """
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or "\0" in relative or not relative.endswith(SEALED):
        raise BadPath(f"{relative[:200]!r} is not the path of a sealed pack inside the spool")
    base = _resolve_root(root)
    path = base / pure
    if any(place.is_symlink() for place in (path, *path.parents[: len(pure.parts) - 1])):
        path = path.resolve()
        if not path.is_relative_to(base):
            raise BadPath(f"{relative[:200]!r} leads out of the spool {base}")
    return path


@cached("spool_roots", entries=1, entry_bytes=2000)
def _resolve_root(root: Path) -> Path:
    """A service has one spool; looking at each folder above it for each pack would take longer than the rest."""
    return root.resolve()


def release(path: Path) -> None:
    """Delete a sealed pack that is stored elsewhere; one that is gone already is not an error."""
    path.unlink(missing_ok=True)
