"""How `osteon verify` shows where it is: a bar with rate and time left on a terminal, else a line now and then."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from osteon.background import background
from osteon_indexer.verify.problems import ADVICE, Problem, Tally

_BAR_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 10.0
_MIB: Final = 1 << 20


@asynccontextmanager
async def shown(tally: Tally) -> AsyncIterator[None]:
    """Show progress on standard error while the body runs."""
    console = Console(stderr=True)
    async with background(_bar(tally, console) if console.is_terminal else _lines(tally)):
        yield


async def _bar(tally: Tally, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"),
               TimeRemainingColumn())  # fmt: skip
    started = time.monotonic()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("listing", total=None)
        while True:
            # By bytes where they are read: packs are of very different sizes.
            done, total = (tally.bytes_read, tally.of_bytes) if tally.of_bytes else (tally.packs, tally.of_packs)
            description = _sentence(tally, time.monotonic() - started)
            progress.update(bar, completed=done, total=total or None, description=description)
            await asyncio.sleep(_BAR_SECONDS)


async def _lines(tally: Tally) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(_LINE_SECONDS)
        typer.echo(f"osteon verify: {_sentence(tally, time.monotonic() - started)}", err=True)


def _sentence(tally: Tally, seconds: float) -> str:
    text = f"{tally.packs} of {tally.of_packs} packs, {tally.problems} problems"
    if tally.of_bytes:
        text += f", {tally.bytes_read / _MIB:.0f} MiB read, {tally.bytes_read / _MIB / max(seconds, 0.001):.0f} MiB/s"
    return text


def tell(problem: Problem, *, as_json: bool) -> None:
    """Print a problem."""
    advice = ADVICE[problem.kind]
    if as_json:
        facts = {"kind": problem.kind.value, "key": problem.key, "detail": problem.detail,
                 "repaired": problem.repaired, "advice": advice}  # fmt: skip
        typer.echo(orjson.dumps(facts).decode())
    else:
        typer.echo(f"{problem.kind}: {problem.key}: {problem.detail}{' (repaired)' if problem.repaired else ''}")


def summary(tally: Tally, *, as_json: bool) -> None:
    """Print what was found in all, and what to do about it."""
    if as_json:
        facts = {"packs": tally.packs, "bytes": tally.bytes_read, "problems": tally.problems, "last": tally.last,
                 "repaired": tally.repaired, "indexed": tally.indexed,
                 "kinds": {kind.value: n for kind, n in tally.by_kind.items()}}  # fmt: skip
        typer.echo(orjson.dumps({"summary": facts}).decode())
        return
    for kind, n in sorted(tally.by_kind.items()):
        typer.echo(f"{kind} ({n}): {ADVICE[kind]}")
    indexed = f", {tally.indexed} packs without rows were indexed" if tally.indexed else ""
    typer.echo(f"{tally.packs} packs verified: {tally.problems} problems, {tally.repaired} of them repaired{indexed}.")
