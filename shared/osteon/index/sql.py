"""The index in PostgreSQL or SQLite: `SqlIndex` puts this room's modules together behind the port."""

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.changes import Change, ChangePage, ChangeType
from osteon.archive.conflicts import Conflict, Version, VersionComparison
from osteon.archive.errors import ResourceNotFound
from osteon.archive.pack_records import InstanceState, PackOutcome, PackRows, StoredPack
from osteon.archive.resources import (
    Child,
    InstanceScope,
    Location,
    LocationPage,
    Match,
    MatchPage,
    RowPage,
    Sender,
    SplitSeries,
    SplitStudy,
    Statistics,
    UnidentifiedPatient,
)
from osteon.contracts.conflicts import ConflictDecided
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon.index import change_log, conflicts, contradictions, locations, pack_rows, shared_uids, tables
from osteon.index import search as searching
from osteon.index.batch import Batch
from osteon.index.commitments import SqlCommitments
from osteon.index.database import Database
from osteon.index.identifiers import find_row, lookup, read_children, read_identifiers
from osteon.index.jobs import SqlJobs
from osteon.index.migrate import expect, upgrade
from osteon.index.queries import SqlQueries
from osteon.index.reconciliations import SqlReconciliations, current_id, sources_of
from osteon.index.remotes import SqlRemotes
from osteon.index.repoint import repoint
from osteon.index.resources import Resources
from osteon.index.rules import SqlCircuits, SqlRules
from osteon.index.stability import SqlStability
from osteon.index.uids import Uids
from osteon.index.upsert import read_outcomes, upsert
from osteon.index.user_data import SqlUserData
from osteon.settings import IndexSettings


class SqlIndex:
    """Implements `osteon.index.port.Index`.

    Args:
        url: `postgresql+psycopg://user@host:port/database` or `sqlite+aiosqlite:///path`.
        pool: connections at most; each call takes one while it runs.
        migrate: whether `start` brings the tables up to date, or expects that they are.
        newest: whether the last of several versions of an instance is served until a person decides, else the first.

    Attributes:
        database: the transactions of everything here.
    """

    def __init__(self, url: str, *, pool: int = 8, migrate: bool = True, newest: bool = False) -> None:
        self.database = Database(url, pool)
        self._migrate = migrate
        self._newest = newest
        self._uids = Uids(self.database)
        self.remotes = SqlRemotes(self.database)
        self.queries = SqlQueries(self.database)
        self.commitments = SqlCommitments(self.database)
        self.rules = SqlRules(self.database)
        self.circuits = SqlCircuits(self.database)
        self.stability = SqlStability(self.database)
        self.user_data = SqlUserData(self.database)
        self.jobs = SqlJobs(self.database)
        self.reconciliations = SqlReconciliations(self.database)

    @classmethod
    def from_settings(cls, settings: IndexSettings) -> "SqlIndex":
        """Return the index that the settings name; nothing connects before `start`."""
        url = settings.database_url.get_secret_value()
        return cls(url, pool=settings.database_pool, migrate=settings.migrate, newest=settings.serves_newest)

    async def start(self) -> None:
        """See `Index`."""
        await self.database.start()
        await self.database.write(upgrade if self._migrate else expect)

    async def close(self) -> None:
        """See `Index`."""
        await self.database.close()

    async def check(self) -> None:
        """See `Index`."""
        await self.database.check(select(tables.totals.c.id))

    async def upsert(self, packs: Sequence[StoredPack]) -> Sequence[PackOutcome]:
        """See `Index`."""
        numbers = await self._numbers(packs)
        return await self.database.write(lambda connection: upsert(self._batch(connection, numbers), packs))

    async def outcome(self, pack_id: str) -> Mapping[str, InstanceState]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await locations.outcome(connection, pack_id)

    async def known_packs(self, pack_ids: Sequence[str]) -> set[str]:
        """See `Index`."""
        among = self.database.dialect.among(tables.packs.c.pack_id, pack_ids)
        async with self.database.read() as connection:
            return set(await connection.scalars(select(tables.packs.c.pack_id).where(among)))

    async def search(self, search: Search) -> MatchPage:
        """See `Index`."""
        async with self.database.read() as connection:
            page = await searching.page(connection, self.database.dialect, search)
            resources = Resources(connection, self.database.dialect, self._uids)
            matches = await resources.matches(search.level, page.rows)
            if page.merges:
                matches = await shared_uids.merged(connection, resources, matches)
        return MatchPage(matches, page.cursor)

    async def rows(self, search: Search) -> RowPage:
        """See `Index`."""
        async with self.database.read() as connection:
            page = await searching.page(connection, self.database.dialect, search)
        return RowPage(page.rows, page.cursor)

    async def at_rows(self, level: Level, rows: Sequence[int]) -> Sequence[Match]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await Resources(connection, self.database.dialect, self._uids).matches(level, rows)

    async def identifiers(self, level: Level, rows: Sequence[int]) -> Sequence[str]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await read_identifiers(connection, self.database.dialect, level, rows)

    async def children(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, Sequence[Child]]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await read_children(connection, level, public_ids)

    async def search_locations(self, search: Search) -> LocationPage:
        """See `Index`."""
        async with self.database.read() as connection:
            page = await searching.page(connection, self.database.dialect, search)
            found = await locations.of_ids(connection, self.database.dialect, self._uids, page.rows)
        return LocationPage(found, page.cursor)

    async def count(self, search: Search, *, at_most: int | None = None) -> int:
        """See `Index`."""
        async with self.database.read() as connection:
            return await searching.count(connection, self.database.dialect, search, at_most)

    async def get(self, level: Level, public_id: str) -> Match:
        """See `Index`."""
        async with self.database.read() as connection:
            row = await find_row(connection, level, public_id)
            return (await Resources(connection, self.database.dialect, self._uids).matches(level, [row]))[0]

    async def lookup(self, identifier: str) -> Sequence[tuple[Level, str]]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await lookup(connection, identifier)

    def locate(self, scope: InstanceScope) -> AsyncIterator[Location]:
        """See `Index`."""
        return locations.locate(self.database, self._uids, scope)

    async def representatives(self, level: Level, public_ids: Sequence[str]) -> Mapping[str, Location]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await locations.representatives(connection, self.database.dialect, self._uids, level, public_ids)

    async def changes(
        self, *, since: int = 0, to: int | None = None, limit: int = 100, types: Sequence[ChangeType] = ()
    ) -> ChangePage:
        """See `Index`."""
        async with self.database.read() as connection:
            return await change_log.read_page(connection, since, to, limit, types)

    async def log_changes(self, entries: Sequence[tuple[ChangeType, Level, str]]) -> None:
        """See `Index`."""
        if entries:
            now = datetime.now(UTC)
            await self.database.write(
                lambda connection: change_log.write_entries(connection, self.database.dialect, now, entries)
            )

    async def last_change(self) -> Change | None:
        """See `Index`."""
        async with self.database.read() as connection:
            return await change_log.read_last(connection)

    async def statistics(self) -> Statistics:
        """See `Index`."""
        async with self.database.read() as connection:
            return await change_log.read_statistics(connection)

    async def senders(self, limit: int = 1000) -> Sequence[Sender]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await change_log.read_senders(connection, limit)

    async def conflicts(
        self, *, after: int = 0, limit: int = 100, study_uid: str | None = None, resolved: bool | None = False
    ) -> Sequence[Conflict]:
        """See `Index`."""
        clauses = conflicts.clauses_of(after, study_uid, resolved)
        async with self.database.read() as connection:
            return await conflicts.conflicts(connection, self._uids, limit, *clauses)

    async def conflict(self, conflict_id: int) -> Conflict:
        """See `Index`."""
        async with self.database.read() as connection:
            found = await conflicts.conflicts(connection, self._uids, 1, tables.conflicts.c.id == conflict_id)
        if not found:
            raise ResourceNotFound(f"there is no conflict {conflict_id}")
        return found[0]

    async def conflicting_versions(self, sop_uids: Sequence[str]) -> Sequence[Location]:
        """See `Index`."""
        among = self.database.dialect.among(tables.instances.c.sop_instance_uid, sop_uids)
        async with self.database.read() as connection:
            return await conflicts.asides(connection, self._uids, among)

    async def versions(self, sop_uids: Sequence[str]) -> Mapping[str, Sequence[Version]]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await conflicts.versions(connection, self.database.dialect, self._uids, sop_uids)

    async def sources_of(self, study_id: str) -> Set[str]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await sources_of(connection, await find_row(connection, Level.STUDY, study_id))

    async def current_id(self, level: Level, former: str) -> str:
        """See `Index`."""
        async with self.database.read() as connection:
            return await current_id(connection, level, former)

    async def note_decisions(self, decisions: Sequence[ConflictDecided]) -> None:
        """See `Index`."""
        await self.database.write(lambda connection: conflicts.note_decisions(self._batch(connection, {}), decisions))

    async def uncompared(
        self, *, sop_uids: Sequence[str] | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[Conflict]:
        """See `Index`."""
        c = tables.conflicts.c
        clauses = [c.id > after, c.resolved.is_(None), c.compared.is_(None)]
        if sop_uids is not None:
            clauses.append(self.database.dialect.among(tables.instances.c.sop_instance_uid, sop_uids))
        async with self.database.read() as connection:
            return await conflicts.conflicts(connection, self._uids, limit, *clauses)

    async def note_comparisons(self, pack: StoredPack, found: Sequence[VersionComparison]) -> PackOutcome:
        """See `Index`."""
        numbers = await self._numbers([pack])

        async def work(connection: AsyncConnection) -> PackOutcome:
            batch = self._batch(connection, numbers)
            await conflicts.note_comparisons(batch, pack, found)
            return (await read_outcomes(batch, [pack.facts.pack_id]))[pack.facts.pack_id]

        return await self.database.write(work)

    async def split_studies(
        self, *, after: str = "", limit: int = 100, study_uid: str | None = None
    ) -> Sequence[SplitStudy]:
        """See `Index`."""
        chosen = shared_uids.split_studies(after, study_uid)
        async with self.database.read() as connection:
            resources = Resources(connection, self.database.dialect, self._uids)
            return await shared_uids.read_split_studies(connection, resources, chosen, limit)

    async def split_series(
        self, *, after: str = "", limit: int = 100, series_uid: str | None = None
    ) -> Sequence[SplitSeries]:
        """See `Index`."""
        chosen = contradictions.split_series(after, series_uid)
        async with self.database.read() as connection:
            resources = Resources(connection, self.database.dialect, self._uids)
            return await contradictions.read_split_series(connection, resources, chosen, limit)

    async def unidentified_patients(self, *, limit: int = 100, offset: int = 0) -> Sequence[UnidentifiedPatient]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await contradictions.read_unidentified_patients(connection, limit, offset)

    async def known_decisions(self, decision_ids: Sequence[str]) -> set[str]:
        """See `Index`."""
        column = tables.decisions.c.decision_id
        async with self.database.read() as connection:
            return set(
                await connection.scalars(select(column).where(self.database.dialect.among(column, decision_ids)))
            )

    async def decide(self, decision: ConflictDecided, version: StoredPack | None = None) -> None:
        """See `Index`."""
        numbers = await self._numbers([version] if version else [])
        await self.database.write(
            lambda connection: conflicts.decide(self._batch(connection, numbers), decision, version)
        )

    async def repoint(self, pack: StoredPack, lost: Sequence[str]) -> PackOutcome:
        """See `Index`."""

        async def work(connection: AsyncConnection) -> PackOutcome:
            batch = self._batch(connection, {})
            await repoint(batch, pack, lost)
            return (await read_outcomes(batch, [pack.facts.pack_id]))[pack.facts.pack_id]

        return await self.database.write(work)

    async def duplicate_packs(self, pack_id: str) -> Sequence[str]:
        """See `Index`."""
        async with self.database.read() as connection:
            return await pack_rows.duplicate_packs(connection, pack_id)

    def pack_rows(
        self, *, after: str = "", study_uid: str | None = None, only: str | None = None
    ) -> AsyncIterator[PackRows]:
        """See `Index`."""
        return pack_rows.packs(self.database, after, study_uid, only)

    def pack_members(self, pack_id: str) -> AsyncIterator[Location]:
        """See `Index`."""
        return pack_rows.members(self.database, self._uids, pack_id)

    async def _numbers(self, packs: Sequence[StoredPack]) -> dict[str, int]:
        entries = [entry for pack in packs for entry in pack.instances]
        texts = {text for entry in entries for text in (entry.identity.sop_class_uid, entry.transfer_syntax_uid)}
        return await self._uids.numbers(texts)

    def _batch(self, connection: AsyncConnection, numbers: dict[str, int]) -> Batch:
        return Batch(connection, self.database.dialect, numbers, datetime.now(UTC), newest=self._newest)
