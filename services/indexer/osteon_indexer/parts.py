"""The object store and the index for commands: those of a cluster by the settings, or a standalone Osteon's folder."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from osteon import logging
from osteon.errors import Invalid, OsteonError
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.objects.port import Objects
from osteon.objects.s3 import S3Objects
from osteon.runtime import settings_or_exit
from osteon.settings import IndexSettings, ObjectSettings, ProcessSettings

T = TypeVar("T")
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder of a standalone Osteon, not S3 and database.")
]


class CommandSettings(ProcessSettings, ObjectSettings, IndexSettings):
    """Where the objects and the rows are."""


@asynccontextmanager
async def parts(data: Path | None) -> AsyncIterator[tuple[Objects, Index]]:
    """Open both; raises `Invalid` when `data` is no data folder, `Unavailable` when the database does not answer."""
    index: Index
    objects: Objects
    process = settings_or_exit(ProcessSettings)
    logging.setup("osteon", level=process.log_level, style=process.log_format)
    if data is None:
        settings = settings_or_exit(CommandSettings)
        objects = S3Objects.from_settings(settings)
        index = SqlIndex.from_settings(settings)
    elif (data / "objects").is_dir():
        objects, index = FolderObjects(data / "objects"), SqlIndex(f"sqlite+aiosqlite:///{data / 'index.sqlite'}")
    else:
        raise Invalid(f"{data} is not the data folder of a standalone Osteon: it has no folder `objects`")
    await index.start()
    try:
        yield objects, index
    finally:
        await index.close()


def run(command: str, work: Coroutine[Any, Any, T], *, failed: int = 1) -> T:
    """Run a command's work; an Osteon error ends the process with its message and the status `failed`."""
    try:
        return asyncio.run(work)
    except OsteonError as error:
        typer.echo(f"osteon {command}: {error}", err=True)
        raise typer.Exit(failed) from None
