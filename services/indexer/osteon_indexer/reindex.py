"""`osteon reindex`: fill the index from the bucket alone."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

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
    if data:
        index: Index = SqlIndex(f"sqlite+aiosqlite:///{data / 'index.sqlite'}")
        objects: Objects = FolderObjects(data / "objects")
    else:
        settings = settings_or_exit(ReindexSettings)
        index = SqlIndex(settings.database_url.get_secret_value(), pool=settings.database_pool)
        objects = S3Objects.from_settings(settings)
    packs = asyncio.run(_reindex(objects, index))
    typer.echo(f"{packs} packs were indexed.")


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
