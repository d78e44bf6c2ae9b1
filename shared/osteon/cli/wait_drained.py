"""`osteon wait-drained`: waits until a spool is empty, before the last writer of its volume is stopped.

A pod's containers are all stopped at once, but what `ingress` still accepts needs the `writer`. So the writer's
pod waits here first (a preStop hook), and nothing stays behind in a volume that no pod may mount for a long time.
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
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait at most.")] = 300.0,
) -> None:
    """Wait until no process takes instances into the spool and all its packs are stored. Exits with 0, or 1 if late."""
    root = settings_or_exit(SpoolSettings).spool_dir
    deadline = time.monotonic() + timeout
    while (left := remains(root)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    if left:
        typer.echo(f"{root} is not empty after {timeout:g} s: {left}. The next ingress that mounts it goes on.")
        raise typer.Exit(1)


def remains(root: Path) -> str:
    """Say what keeps the spool from being empty, if anything; damaged files do not, they are left for the operator."""
    if not root.exists():
        return ""
    packs = sum(path.name.endswith((SEALED, OPEN)) for path in files(root))
    held = sum(1 for _ in root.glob(f"*/{LOCK}")) - len(orphans(root))
    counts = {"packs that are not stored": packs, "folders that a process holds": held}
    return ", ".join(f"{what}: {count}" for what, count in counts.items() if count > 0)
