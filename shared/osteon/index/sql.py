"""The index in PostgreSQL or SQLite: `SqlIndex` puts this room's modules together behind the port."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import select

from osteon.dicom.query import Level, Search
from osteon.index import changes, locations
from osteon.index import search as searching
from osteon.index.database import Database
from osteon.index.find_id import find, lookup
from osteon.index.migrate import upgrade
from osteon.index.port import (
    Change,
    ChangePage,
    ChangeType,
    Conflict,
    InstanceState,
    Location,
    Match,
    MatchPage,
    PackOutcome,
    Scope,
    Statistics,
    StoredPack,
)
from osteon.index.resources import Resources
from osteon.index.tables import packs as packs_table
from osteon.index.tables import totals
from osteon.index.uids import Uids
from osteon.index.upsert import Batch, upsert


class SqlIndex:
    """Implements `osteon.index.port.Index`.

    Args:
        url: `postgresql+psycopg://user@host:port/database` or `sqlite+aiosqlite:///path`.
        pool: connections at most; each call takes one while it runs.
    """

    def __init__(self, url: str, *, pool: int = 8) -> None:
        self._database = Database(url, pool)
        self._uids = Uids(self._database)

    async def start(self) -> None:
        """See `Index`."""
        await self._database.start()
        await self._database.write(upgrade)

    async def close(self) -> None:
        """See `Index`."""
        await self._database.close()

    async def check(self) -> None:
        """See `Index`."""
        await self._database.check(select(totals.c.id))

    async def upsert(self, packs: Sequence[StoredPack]) -> Sequence[PackOutcome]:
        """See `Index`."""
        entries = [entry for pack in packs for entry in pack.instances]
        texts = {text for entry in entries for text in (entry.identity.sop_class_uid, entry.transfer_syntax_uid)}
        numbers = await self._uids.numbers(texts)
        dialect = self._database.dialect
        return await self._database.write(
            lambda connection: upsert(Batch(connection, dialect, numbers, datetime.now(UTC)), packs)
        )

    async def outcome(self, pack_id: str) -> Mapping[str, InstanceState]:
        """See `Index`."""
        async with self._database.read() as connection:
            return await locations.outcome(connection, pack_id)

    async def known_packs(self, pack_ids: Sequence[str]) -> set[str]:
        """See `Index`."""
        among = self._database.dialect.among(packs_table.c.pack_id, pack_ids)
        async with self._database.read() as connection:
            return set(await connection.scalars(select(packs_table.c.pack_id).where(among)))

    async def search(self, search: Search) -> MatchPage:
        """See `Index`."""
        async with self._database.read() as connection:
            ids, cursor = await searching.page(connection, self._database.dialect, search)
            matches = await Resources(connection, self._database.dialect, self._uids).matches(search.level, ids)
        return MatchPage(matches, cursor)

    async def count(self, search: Search) -> int:
        """See `Index`."""
        async with self._database.read() as connection:
            return await searching.count(connection, self._database.dialect, search)

    async def get(self, level: Level, public_id: str) -> Match:
        """See `Index`."""
        async with self._database.read() as connection:
            row = await find(connection, level, public_id)
            return (await Resources(connection, self._database.dialect, self._uids).matches(level, [row]))[0]

    async def lookup(self, identifier: str) -> Sequence[tuple[Level, str]]:
        """See `Index`."""
        async with self._database.read() as connection:
            return await lookup(connection, identifier)

    def locate(self, scope: Scope) -> AsyncIterator[Location]:
        """See `Index`."""
        return locations.locate(self._database, self._uids, scope)

    async def representatives(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, Location]:
        """See `Index`."""
        async with self._database.read() as connection:
            return await locations.representatives(connection, self._database.dialect, self._uids, level, public_ids)

    async def changes(
        self, *, since: int = 0, to: int | None = None, limit: int = 100, types: Sequence[ChangeType] = ()
    ) -> ChangePage:
        """See `Index`."""
        async with self._database.read() as connection:
            return await changes.page(connection, since, to, limit, types)

    async def last_change(self) -> Change | None:
        """See `Index`."""
        async with self._database.read() as connection:
            return await changes.last(connection)

    async def statistics(self) -> Statistics:
        """See `Index`."""
        async with self._database.read() as connection:
            return await changes.statistics(connection)

    async def conflicts(self, *, after: int = 0, limit: int = 100) -> Sequence[Conflict]:
        """See `Index`."""
        async with self._database.read() as connection:
            return await locations.conflicts(connection, self._uids, after, limit)
