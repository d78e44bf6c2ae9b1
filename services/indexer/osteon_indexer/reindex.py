"""`osteon reindex`: fill the index from the bucket alone."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from osteon.errors import Invalid, OsteonError
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.runtime import settings_or_exit
from osteon.settings import IndexSettings, ObjectSettings, ProcessSettings
from osteon_indexer.sweep import sweep


class ReindexSettings(ProcessSettings, ObjectSettings, IndexSettings):
    """Where the sidecars are and where the rows go."""


def main(
    data: Annotated[Path | None, typer.Option(help="Data folder of a standalone Osteon, not S3 and database.")] = None,
) -> None:
    """Index every pack in the object store that has no rows yet, from its sidecar. It can be repeated at any time."""
    try:
        packs = asyncio.run(_reindex(*(_real_parts() if data is None else _folder_parts(data))))
    except OsteonError as error:
        typer.echo(f"osteon reindex: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{packs} packs were indexed.")


def _folder_parts(data: Path) -> tuple[Objects, Index]:
    if not (data / "objects").is_dir():
        raise Invalid(f"{data} is not the data folder of a standalone Osteon: it has no folder `objects`")
    return FolderObjects(data / "objects"), SqlIndex(f"sqlite+aiosqlite:///{data / 'index.sqlite'}")


def _real_parts() -> tuple[Objects, Index]:
    settings = settings_or_exit(ReindexSettings)
    index = SqlIndex(settings.database_url.get_secret_value(), pool=settings.database_pool)
    return S3Objects.from_settings(settings), index


async def _reindex(objects: Objects, index: Index) -> int:
    await index.start()
    try:
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as bar:
            task = bar.add_task("looking")

            def show(seen: int, indexed: int) -> None:
                bar.update(task, description=f"{seen} packs seen, {indexed} indexed")

            return await sweep(objects=objects, index=index, settled=timedelta(0), progress=show)
    finally:
        await index.close()
