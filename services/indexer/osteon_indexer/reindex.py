"""`osteon reindex`: fill the index from the bucket alone."""

from datetime import timedelta
from pathlib import Path

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from osteon_indexer.cli_backends import DataOption, open_backends, run
from osteon_indexer.sweep import sweep


def main(data: DataOption = None) -> None:
    """Index every pack in the object store that has no rows yet, from its sidecar. It is safe to run again."""
    typer.echo(f"{run('reindex', _reindex(data))} packs indexed.")


async def _reindex(data: Path | None) -> int:
    async with open_backends(data) as (objects, index):
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as bar:
            task = bar.add_task("listing objects")

            def show(found: int, indexed: int) -> None:
                bar.update(task, description=f"{found} packs found, {indexed} indexed")

            return await sweep(objects=objects, index=index, min_age=timedelta(0), progress=show)
