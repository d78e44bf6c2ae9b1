"""Progress bars, on standard error, and only on a terminal."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from osteon.cli.scu.options import Common


class _Rate(ProgressColumn):
    """Steps in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "-/s", style="progress.data.speed")


def bar(common: Common, what: str, *, sized: bool = False) -> Progress:
    """Return a progress bar that counts `what`; with `sized` one that counts bytes, and `note` is shown beside."""
    console = Console(stderr=True)
    steps = (TransferSpeedColumn(), TextColumn("{task.fields[note]}")) if sized else (MofNCompleteColumn(), _Rate())
    return Progress(
        TextColumn(what),
        BarColumn(),
        *steps,
        TimeRemainingColumn(),
        console=console,
        disable=common.quiet or common.as_json or not console.is_terminal,
        transient=True,
    )


def size(number: float) -> str:
    """Return bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
