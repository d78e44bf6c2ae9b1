"""The command line of `osteon verify`."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from osteon_indexer.cli_backends import DataOption, open_backends, run
from osteon_indexer.verify.compare import Verifier, VerifyOptions
from osteon_indexer.verify.problems import VerifyProblem, VerifyProgress
from osteon_indexer.verify.report import print_problem, print_summary, show_progress

_RATE: Final = re.compile(r"(\d+)([kMG]?)")
_FACTORS: Final = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NOT_COMPLETED: Final = 2


def main(
    *,
    data: DataOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every instance and compare its SHA-256.")] = False,
    study: Annotated[
        str | None, typer.Option(metavar="UID", help="Verify only this study (Study Instance UID).")
    ] = None,
    after: Annotated[
        str, typer.Option(metavar="PACK", help="Continue after this pack, which an interrupted run printed.")
    ] = "",
    limit_rate: Annotated[
        str, typer.Option(metavar="BYTES", help="Read at most this many bytes per second, for example 50M.")
    ] = "0",
    grace: Annotated[float, typer.Option(help="Minutes during which a new object may have no rows.")] = 10.0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Index packs without rows; use other copies of what is lost.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each problem, and one for the summary.")
    ] = False,
) -> None:
    """Compare the object store with the index. Exit code: 0 no problems, 1 problems found, 2 not completed."""
    options = VerifyOptions(
        deep=deep, study_uid=study, after=after, rate=_bytes(limit_rate), repair=repair,
        min_age=timedelta(minutes=grace),
    )  # fmt: skip
    progress = VerifyProgress(last=after)
    try:
        run("verify", _verify(data, options, progress, as_json=as_json), failed=_NOT_COMPLETED)
    except (KeyboardInterrupt, typer.Exit):
        if progress.last:
            typer.echo(f"osteon verify: not completed; to continue, add --after {progress.last}", err=True)
        raise typer.Exit(_NOT_COMPLETED) from None
    print_summary(progress, as_json=as_json)
    raise typer.Exit(1 if progress.problems > progress.repaired else 0)


def _bytes(text: str) -> int:
    match = _RATE.fullmatch(text)
    if not match:
        raise typer.BadParameter(f"--limit-rate: expected bytes per second, such as 500k, 50M or 1G, got {text!r}")
    return int(match[1]) * _FACTORS[match[2]]


async def _verify(data: Path | None, options: VerifyOptions, progress: VerifyProgress, *, as_json: bool) -> None:
    def report(problem: VerifyProblem) -> None:
        print_problem(problem, as_json=as_json)

    async with open_backends(data) as (objects, index), show_progress(progress):
        await Verifier(objects, index, options, progress, report).run()
