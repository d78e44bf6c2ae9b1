"""What can be found out about a database without changing it, for `osteon doctor`."""

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.resources import Sender
from osteon.index.change_log import read_senders
from osteon.index.database import Database
from osteon.index.migrate import Tables, compared

_SERVER = text("""
    SELECT current_setting('server_version'),
           current_setting('server_version_num')::int,
           current_setting('server_encoding'),
           current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery(),
           current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on',
           current_setting('synchronous_commit') <> 'off',
           EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm'),
           EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm'),
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
             - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int,
           extract(epoch FROM clock_timestamp())::float8
""")


@dataclass(frozen=True, slots=True)
class Server:
    """Version and settings of a PostgreSQL server. `clock` in seconds of the epoch."""

    version: str
    number: int
    encoding: str
    read_only: bool
    syncs: bool
    waits_for_sync: bool
    trigrams: bool
    trigrams_available: bool
    free_connections: int
    clock: float


class _RollBack(Exception):
    """Raised to roll a transaction back."""


class Inspection:
    """A connection to one database; its methods raise `DatabaseUnavailable`, or `Invalid` for a URL of another kind."""

    def __init__(self, url: str) -> None:
        self._database = Database(url, 1)

    async def close(self) -> None:
        """Close the connection to the database."""
        await self._database.close()

    async def server(self) -> Server:
        """Return what a PostgreSQL server says of itself."""
        async with self._database.read() as connection:
            return Server(*(await connection.execute(_SERVER)).one())

    async def tables(self) -> Tables:
        """Compare the tables' revision with this release's."""
        async with self._database.read() as connection:
            return await compared(connection)

    async def senders(self, limit: int) -> list[Sender]:
        """Return who has sent, the last one first."""
        async with self._database.read() as connection:
            return await read_senders(connection, limit)

    async def write(self) -> None:
        """Create a table, write to it, and roll both back."""
        name = f"osteon_doctor_{uuid.uuid4().hex}"

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(text(f"CREATE TABLE {name} (n integer)"))
            await connection.execute(text(f"INSERT INTO {name} VALUES (1)"))  # noqa: S608  (hexadecimal digits)
            raise _RollBack

        try:
            await self._database.write(work)
        except _RollBack:
            return
