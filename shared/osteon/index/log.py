"""The change log and the totals, written last in a transaction, under one lock for all writers.

The lock makes the order of `seq` the order in which changes become visible, so that who reads on from the last one seen
misses none. It is held for the commit only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.dicom.query import Level
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.port import ChangeType

CODES: Final = {
    ChangeType.NEW_PATIENT: 1,
    ChangeType.NEW_STUDY: 2,
    ChangeType.NEW_SERIES: 3,
    ChangeType.NEW_INSTANCE: 4,
    ChangeType.DELETED: 5,
}
"""Change types as the database has them."""
_NEW: Final = {
    Level.PATIENT: ChangeType.NEW_PATIENT,
    Level.STUDY: ChangeType.NEW_STUDY,
    Level.SERIES: ChangeType.NEW_SERIES,
}


@dataclass(slots=True)
class Created:
    """What a transaction added: public identifiers by level, and the sums of the instances stored."""

    resources: dict[Level, list[bytes]] = field(default_factory=lambda: {level: [] for level in _NEW})
    instances: int = 0
    size: int = 0


async def write_log(
    connection: AsyncConnection,
    dialect: Dialect,
    now: datetime,
    created: Created,
    *,
    packs: Sequence[int],
    conflicts: int,
) -> None:
    """Log what was created, the instances of `packs` too, from the patient downwards; add to the totals."""
    await dialect.lock_changes(connection)
    rows = [
        {"date": now, "type": CODES[_NEW[level]], "level": level.depth, "public_id": public_id}
        for level, identifiers in created.resources.items()
        for public_id in identifiers
    ]
    if rows:
        await connection.execute(tables.changes.insert(), rows)
    if created.instances:
        await _log_instances(connection, dialect, now, packs)
    added = {
        "patients": len(created.resources[Level.PATIENT]),
        "studies": len(created.resources[Level.STUDY]),
        "series": len(created.resources[Level.SERIES]),
        "instances": created.instances,
        "packs": len(packs),
        "conflicts": conflicts,
        "size": created.size,
    }
    await connection.execute(
        update(tables.totals).values({name: tables.totals.c[name] + n for name, n in added.items()})
    )


async def _log_instances(connection: AsyncConnection, dialect: Dialect, now: datetime, packs: Sequence[int]) -> None:
    """Copy the identifiers from the rows that the transaction has just inserted: they need not travel again."""
    c = tables.instances.c
    new = (
        select(
            literal(now, tables.Moment()),
            literal(CODES[ChangeType.NEW_INSTANCE]),
            literal(Level.IMAGE.depth),
            c.public_id,
        )
        .where(dialect.among(c.pack, list(packs)))
        .order_by(c.id)
    )
    await connection.execute(insert(tables.changes).from_select(["date", "type", "level", "public_id"], new))
