"""What `osteon verify` prints: a bar with rate and time left on a terminal, else a line at times; then problems."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from osteon_indexer.verify.problems import ADVICE, VerifyProblem, VerifyProgress

_BAR_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 10.0
_MIB: Final = 1 << 20


@asynccontextmanager
async def show_progress(progress: VerifyProgress) -> AsyncIterator[None]:
    """Show progress on standard error while the body runs."""
    console = Console(stderr=True)
    task = asyncio.create_task(_bar(progress, console) if console.is_terminal else _lines(progress))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _bar(progress: VerifyProgress, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"),
               TimeRemainingColumn())  # fmt: skip
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("listing objects", total=None)
        while True:
            # By bytes where they are read: packs are of very different sizes.
            done, total = (
                (progress.bytes_read, progress.of_bytes) if progress.of_bytes else (progress.packs, progress.of_packs)
            )
            description = _sentence(progress, time.monotonic() - started)
            bars.update(bar, completed=done, total=total or None, description=description)
            await asyncio.sleep(_BAR_SECONDS)


async def _lines(progress: VerifyProgress) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(_LINE_SECONDS)
        typer.echo(f"osteon verify: {_sentence(progress, time.monotonic() - started)}", err=True)


def _sentence(progress: VerifyProgress, seconds: float) -> str:
    text = f"{progress.packs} of {progress.of_packs} packs, {progress.problems} problems"
    if progress.of_bytes:
        text += (
            f", {progress.bytes_read / _MIB:.0f} MiB read, {progress.bytes_read / _MIB / max(seconds, 0.001):.0f} MiB/s"
        )
    return text


def print_problem(problem: VerifyProblem, *, as_json: bool) -> None:
    """Print one problem: a line of text, or of JSON with the advice."""
    advice = ADVICE[problem.kind]
    if as_json:
        facts = {"kind": problem.kind.value, "key": problem.key, "detail": problem.detail,
                 "repaired": problem.repaired, "advice": advice}  # fmt: skip
        typer.echo(orjson.dumps(facts).decode())
    else:
        typer.echo(f"{problem.kind}: {problem.key}: {problem.detail}{' (repaired)' if problem.repaired else ''}")


def print_summary(progress: VerifyProgress, *, as_json: bool) -> None:
    """Print the sums, and what to do about each kind of problem."""
    if as_json:
        facts = {"packs": progress.packs, "bytes": progress.bytes_read, "problems": progress.problems,
                 "last": progress.last, "repaired": progress.repaired, "indexed": progress.indexed,
                 "kinds": {kind.value: n for kind, n in progress.by_kind.items()}}  # fmt: skip
        typer.echo(orjson.dumps({"summary": facts}).decode())
        return
    for kind, n in sorted(progress.by_kind.items()):
        typer.echo(f"{kind} ({n}): {ADVICE[kind]}")
    text = f"{progress.packs} packs verified: {progress.problems} problems found, {progress.repaired} repaired"
    typer.echo(f"{text}, {progress.indexed} packs indexed." if progress.indexed else f"{text}.")
