"""The change log and the totals, written last in a transaction, under one lock for all writers.

The lock makes the order of `seq` the order in which changes become visible, so that who reads on from the last one seen
misses none. It is held for the commit only.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.growth import forget_growth
from osteon.index.port import ChangeType

CODES: Final = {
    ChangeType.NEW_PATIENT: 1,
    ChangeType.NEW_STUDY: 2,
    ChangeType.NEW_SERIES: 3,
    ChangeType.NEW_INSTANCE: 4,
    ChangeType.DELETED: 5,
    ChangeType.STABLE_PATIENT: 6,
    ChangeType.STABLE_STUDY: 7,
    ChangeType.STABLE_SERIES: 8,
}
"""Change types as the database has them."""
_NEW: Final = {
    Level.PATIENT: ChangeType.NEW_PATIENT,
    Level.STUDY: ChangeType.NEW_STUDY,
    Level.SERIES: ChangeType.NEW_SERIES,
}


@dataclass(slots=True)
class Written:
    """What a transaction did: new resources by level (public identifiers), and what to add to the totals."""

    resources: dict[Level, list[bytes]] = field(default_factory=lambda: {level: [] for level in _NEW})
    gone: list[tuple[Level, bytes]] = field(default_factory=list)
    moved: dict[int, bytes] = field(default_factory=dict)
    """Instances of which another version is served now: row → public identifier."""
    instances: int = 0
    size: int = 0
    packs: int = 0
    conflicts: int = 0

    def replaced(
        self, new: "Written", gone: list[tuple[Level, bytes]], row: int, ids: tuple[bytes, bytes], size: int
    ) -> None:
        """Add the exchange of one version, of `size` bytes, for another; `ids` are the instance's identifiers."""
        old, self.moved[row] = ids
        for level, identifiers in new.resources.items():
            self.resources[level] += identifiers
        self.gone += [(Level.IMAGE, old), *gone]
        self.size += new.size - size

    def totals(self) -> dict[str, int]:
        """Return what to add to the totals."""
        levels = {"patients": Level.PATIENT, "studies": Level.STUDY, "series": Level.SERIES}
        lost = [level for level, _ in self.gone]
        added = {name: len(self.resources[level]) - lost.count(level) for name, level in levels.items()}
        rest = {"instances": self.instances, "packs": self.packs, "conflicts": self.conflicts, "size": self.size}
        return added | rest


async def write_log(
    connection: AsyncConnection, dialect: Dialect, now: datetime, written: Written, *, packs: Sequence[int] = ()
) -> None:
    """Log what went, then what is new from the patient downwards, the instances of `packs` too; add to the totals."""
    await forget_growth(connection, written.gone)
    await dialect.lock_changes(connection)
    rows = [
        {"date": now, "type": code, "level": level.depth, "public_id": public_id}
        for code, level, public_id in _entries(written)
    ]
    if rows:
        await connection.execute(tables.changes.insert(), rows)
    if written.instances:
        await _log_instances(connection, dialect, now, packs, written.moved)
    await connection.execute(
        update(tables.totals).values({name: tables.totals.c[name] + n for name, n in written.totals().items()})
    )


def _entries(written: Written) -> Iterator[tuple[int, Level, bytes]]:
    for level, public_id in written.gone:
        yield CODES[ChangeType.DELETED], level, public_id
    for level, identifiers in written.resources.items():
        for public_id in identifiers:
            yield CODES[_NEW[level]], level, public_id
    for public_id in written.moved.values():
        yield CODES[ChangeType.NEW_INSTANCE], Level.IMAGE, public_id


async def _log_instances(
    connection: AsyncConnection, dialect: Dialect, now: datetime, packs: Sequence[int], without: Collection[int]
) -> None:
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
    if without:
        new = new.where(c.id.not_in(without))
    await connection.execute(insert(tables.changes).from_select(["date", "type", "level", "public_id"], new))
