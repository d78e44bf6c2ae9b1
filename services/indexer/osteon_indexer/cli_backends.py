"""The object store and the index for commands: those of a cluster by the settings, or a standalone Osteon's folder."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from osteon import logging
from osteon.cli import where
from osteon.errors import Invalid, OsteonError
from osteon.index.port import Index
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.objects.port import Objects
from osteon.runtime import settings_or_exit
from osteon.service_stack import service_stack
from osteon.settings import ConflictSettings, IndexSettings, ObjectSettings, ProcessSettings

T = TypeVar("T")
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Data folder of a standalone Osteon. Default: the services' settings, else OSTEON_DATA."
    ),
]


class CommandSettings(ProcessSettings, ObjectSettings, IndexSettings):
    """Where the objects and the rows are."""


@asynccontextmanager
async def open_backends(data: Path | None) -> AsyncIterator[tuple[Objects, Index]]:
    """Open both; raises `Invalid` when `data` is not a data folder, `Unavailable` when the database does not answer."""
    process = settings_or_exit(ProcessSettings)
    logging.setup("osteon", level=process.log_level, style=process.log_format)
    async with service_stack() as stack:
        if data is None and where.of_services():
            settings = settings_or_exit(CommandSettings)
            yield stack.open_objects(settings), await stack.open_index(settings, wait=False)
            return
        data = data or where.data_folder()
        if (data / "objects").is_dir():
            newest = settings_or_exit(ConflictSettings).serves_newest
            index = SqlIndex(f"sqlite+aiosqlite:///{data / 'index.sqlite'}", newest=newest)
            stack.resources.push_async_callback(index.close)
            await index.start()
            yield FolderObjects(data / "objects"), index
        else:
            raise Invalid(
                f"{data} is not the data folder of a standalone Osteon: it has no folder `objects`; {where.HINT}"
            )


def run(command: str, work: Coroutine[Any, Any, T], *, failed: int = 1) -> T:
    """Run a command's work; an Osteon error ends the process with its message and the status `failed`."""
    try:
        return asyncio.run(work)
    except OsteonError as error:
        typer.echo(f"osteon {command}: {error}", err=True)
        raise typer.Exit(failed) from None
