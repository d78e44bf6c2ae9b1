"""Brings the schema up to date, one process at a time; or waits until another one has."""

from enum import Enum
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.errors import DatabaseUnavailable
from osteon.index.dialect import upgrade_lock


class Tables(Enum):
    """The revision of the tables, compared with this release."""

    NONE = "none"
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    """Made by a release that this one does not know."""


_BEHIND: Final = {
    Tables.NONE: "there are no tables yet: waiting for `osteon migrate` (OSTEON_MIGRATE is false)",
    Tables.OLDER: "the tables are of an older release: waiting for `osteon migrate` (OSTEON_MIGRATE is false)",
}


async def upgrade(connection: AsyncConnection) -> None:
    """Run the revisions that the database lacks, inside the transaction that `connection` is in.

    Tables of a newer release stay as they are: this one understands them, and may be the target of a rollback.
    Other processes wait: on PostgreSQL at an advisory lock, on SQLite because the transaction has begun as a writer.
    """
    lock = upgrade_lock(connection.dialect.name)
    if lock is not None:
        await connection.execute(lock)
    if await compared(connection) in _BEHIND:
        await connection.run_sync(_upgrade)


async def expect(connection: AsyncConnection) -> None:
    """Raise `DatabaseUnavailable` while the tables lack what this release needs.

    Newer ones are accepted: a release must understand the tables of the next one, or pods could not be upgraded one by
    one.
    """
    tables = await compared(connection)
    if tables in _BEHIND:
        raise DatabaseUnavailable(_BEHIND[tables])


async def compared(connection: AsyncConnection) -> Tables:
    """Compare the tables' revision with this release's."""
    return await connection.run_sync(_compare)


def config() -> Config:
    """Return Alembic's configuration; the revisions are part of the package."""
    alembic = Config()
    alembic.set_main_option("script_location", "osteon.index:migrations")
    return alembic


def _upgrade(connection: Connection) -> None:
    alembic = config()
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "head")


def _compare(connection: Connection) -> Tables:
    script = ScriptDirectory.from_config(config())
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        return Tables.NONE
    if revision == script.get_current_head():
        return Tables.CURRENT
    try:
        script.get_revision(revision)
    except CommandError:
        return Tables.NEWER
    return Tables.OLDER
