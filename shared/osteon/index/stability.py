"""Which patients, studies and series still grow, and how far each reader has handled that they stopped.

A resource is growing from the transaction that brings it an instance until a sweep finds it stable. The sweep takes it
off the table and logs that it is stable in one transaction, so that each period of growing ends in one entry of the
log, however many sweep at the same time.
"""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.changes import ChangeType
from osteon.dicom.models import Level
from osteon.index.change_log import CODES
from osteon.index.database import Database
from osteon.index.rule_tables import followers, growing
from osteon.index.tables import changes

STABLE: Final = {
    Level.PATIENT.depth: ChangeType.STABLE_PATIENT,
    Level.STUDY.depth: ChangeType.STABLE_STUDY,
    Level.SERIES.depth: ChangeType.STABLE_SERIES,
}
_g = growing.c


class SqlStability:
    """Implements `osteon.archive.changes.Stability`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark_stable(self, before: datetime, *, limit: int = 500) -> int:
        """See `Stability`."""
        due: ColumnElement[bool] = _g.updated <= before
        # Rows that another sweep has, or that an indexer just brings up to date, are passed over.
        chosen = (
            select(_g.level, _g.public_id, _g.updated)
            .where(due)
            .order_by(_g.updated, _g.level.desc(), _g.public_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )

        async def work(connection: AsyncConnection) -> int:
            found = (await connection.execute(chosen)).all()
            if not found:
                return 0
            which = (and_(_g.level == row.level, _g.public_id == row.public_id) for row in found)
            await connection.execute(delete(growing).where(or_(*which)))
            await self._database.dialect.lock_changes(connection)
            now = datetime.now(UTC)
            rows = [
                {"date": now, "type": CODES[STABLE[row.level]], "level": row.level, "public_id": row.public_id}
                for row in found
            ]
            await connection.execute(changes.insert(), rows)
            return len(rows)

        async with self._database.read() as connection:  # mostly there is nothing, and SQLite has one writer only
            if (await connection.execute(select(_g.level).where(due).limit(1))).first() is None:
                return 0
        return await self._database.write(work)

    async def position(self, name: str) -> int:
        """See `Stability`."""
        async with self._database.read() as connection:
            return int(await connection.scalar(select(followers.c.seq).where(followers.c.name == name)) or 0)

    async def advance(self, name: str, seq: int) -> None:
        """See `Stability`."""
        insert = self._database.dialect.insert(followers).on_conflict_do_nothing(index_elements=["name"])
        further = update(followers).where(followers.c.name == name, followers.c.seq < seq).values(seq=seq)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert, [{"name": name, "seq": seq}])
            await connection.execute(further)

        await self._database.write(work)
