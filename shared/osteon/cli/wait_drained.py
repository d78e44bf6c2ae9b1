"""`osteon wait-drained`: waits until a spool is empty, before the last writer of its volume stops.

All containers of a pod get their stop signal at once, but packs of `ingress` still need the `writer`. So a preStop hook
of the writer runs this command first. Otherwise packs could remain in a volume that no pod mounts for a long time.
"""

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from osteon.runtime import settings_or_exit
from osteon.settings import SpoolSettings
from osteon.spool.folders import LOCK, files, orphans
from osteon.spool.paths import OPEN, SEALED

_PAUSE: Final = 0.5
"""Seconds between two checks."""


def main(
    timeout: Annotated[float, typer.Option(min=0, help="Longest wait in seconds.")] = 300.0,
) -> None:
    """Wait until no process uses the spool and all its packs are stored. Exit code: 0 done, 1 timeout."""
    root = settings_or_exit(SpoolSettings).spool_dir
    deadline = time.monotonic() + timeout
    while (left := remains(root)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    if left:
        typer.echo(f"{root} is not empty after {timeout:g} s: {left}. The next ingress that mounts it continues.")
        raise typer.Exit(1)


def remains(root: Path) -> str:
    """Return what is left in the spool, empty when nothing is. Corrupt files do not count; they need an operator."""
    if not root.exists():
        return ""
    packs = sum(path.name.endswith((SEALED, OPEN)) for path in files(root))
    held = sum(1 for _ in root.glob(f"*/{LOCK}")) - len(orphans(root))
    counts = {"packs that are not stored": packs, "folders that a process holds": held}
    return ", ".join(f"{what}: {count}" for what, count in counts.items() if count > 0)
