"""The command line of `osteon verify`."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from osteon_indexer.cli_backends import DataOption, open_backends, run
from osteon_indexer.verify.compare import Verifier, Wanted
from osteon_indexer.verify.problems import Problem, Tally
from osteon_indexer.verify.showing import shown, summary, tell

_RATE: Final = re.compile(r"(\d+)([kMG]?)")
_FACTORS: Final = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NOT_DONE: Final = 2


def main(
    *,
    data: DataOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every instance and compare its SHA-256.")] = False,
    study: Annotated[str | None, typer.Option(metavar="UID", help="Only this study.")] = None,
    after: Annotated[str, typer.Option(metavar="PACK", help="Go on behind this pack, as an earlier run said.")] = "",
    limit_rate: Annotated[str, typer.Option(metavar="BYTES", help="Read at most so much a second, like 50M.")] = "0",
    grace: Annotated[float, typer.Option(help="Minutes for which new objects may lack rows.")] = 10.0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Index packs without rows; use other copies of what is lost.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each problem and for the sums.")] = False,
) -> None:
    """Compare the object store with the index. Exit code: 0 all is well, 1 problems, 2 it could not be done."""
    wanted = Wanted(
        deep=deep, study_uid=study, after=after, rate=_bytes(limit_rate), repair=repair,
        settled=timedelta(minutes=grace),
    )  # fmt: skip
    tally = Tally(last=after)
    try:
        run("verify", _verify(data, wanted, tally, as_json=as_json), failed=_NOT_DONE)
    except (KeyboardInterrupt, typer.Exit):
        if tally.last:
            typer.echo(f"osteon verify: go on with --after {tally.last}", err=True)
        raise typer.Exit(_NOT_DONE) from None
    summary(tally, as_json=as_json)
    raise typer.Exit(1 if tally.problems > tally.repaired else 0)


def _bytes(text: str) -> int:
    match = _RATE.fullmatch(text)
    if not match:
        raise typer.BadParameter(f"--limit-rate: expected bytes a second like 500k, 50M or 1G, got {text!r}")
    return int(match[1]) * _FACTORS[match[2]]


async def _verify(data: Path | None, wanted: Wanted, tally: Tally, *, as_json: bool) -> None:
    def told(problem: Problem) -> None:
        tell(problem, as_json=as_json)

    async with open_backends(data) as (objects, index), shown(tally):
        await Verifier(objects, index, wanted, tally, told).run()
