"""Brings the schema up to date at start, one process at a time."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.index.dialect import upgrade_lock


async def upgrade(connection: AsyncConnection) -> None:
    """Run the revisions that the database lacks, inside the transaction that `connection` is in.

    Other processes wait: on PostgreSQL at an advisory lock, on SQLite because the transaction has begun as a writer.
    """
    lock = upgrade_lock(connection.dialect.name)
    if lock is not None:
        await connection.execute(lock)
    await connection.run_sync(_upgrade)


def config() -> Config:
    """Return Alembic's configuration; the revisions are part of the package."""
    alembic = Config()
    alembic.set_main_option("script_location", "osteon.index:migrations")
    return alembic


def _upgrade(connection: Connection) -> None:
    alembic = config()
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "head")
