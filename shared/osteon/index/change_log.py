"""The change log and the totals, written last in a transaction, under one lock for all writers.

The lock makes the order of `seq` the order in which changes become visible, so that a reader
that continues after the last one seen misses none. It is held for the commit only.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.changes import ABOVE_INSTANCES, Change, ChangePage, ChangeType
from osteon.archive.resources import Sender, Statistics
from osteon.dicom.identity import format_public_id, parse_public_id
from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.contradictions import split_series, unidentified_patients
from osteon.index.dialect import Dialect
from osteon.index.growth import forget_growth
from osteon.index.shared_uids import mark_shared_uids, split_studies

CODES: Final = {
    ChangeType.NEW_PATIENT: 1,
    ChangeType.NEW_STUDY: 2,
    ChangeType.NEW_SERIES: 3,
    ChangeType.NEW_INSTANCE: 4,
    ChangeType.DELETED: 5,
    ChangeType.STABLE_PATIENT: 6,
    ChangeType.STABLE_STUDY: 7,
    ChangeType.STABLE_SERIES: 8,
    ChangeType.UPDATED_METADATA: 9,
    ChangeType.UPDATED_ATTACHMENT: 10,
    ChangeType.MODIFIED_PATIENT: 11,
    ChangeType.MODIFIED_STUDY: 12,
    ChangeType.MODIFIED_SERIES: 13,
    ChangeType.ANONYMIZED_PATIENT: 14,
    ChangeType.ANONYMIZED_STUDY: 15,
    ChangeType.ANONYMIZED_SERIES: 16,
}
"""Change types as the database has them."""
_NEW: Final = {
    Level.PATIENT: ChangeType.NEW_PATIENT,
    Level.STUDY: ChangeType.NEW_STUDY,
    Level.SERIES: ChangeType.NEW_SERIES,
}
_TYPES: Final = {code: kind for kind, code in CODES.items()}
_LEVELS: Final = {level.depth: level for level in Level}


@dataclass(slots=True)
class ChangeSet:
    """What a transaction did: new resources by level (public identifiers), and what to add to the totals."""

    resources: dict[Level, list[bytes]] = field(default_factory=lambda: {level: [] for level in _NEW})
    gone: list[tuple[Level, bytes]] = field(default_factory=list)
    moved: dict[int, bytes] = field(default_factory=dict)
    """Instances of which another version is served now: row → public identifier."""
    instances: int = 0
    size: int = 0
    packs: int = 0
    conflicts: int = 0

    def add_exchange(
        self, new: "ChangeSet", gone: list[tuple[Level, bytes]], row: int, ids: tuple[bytes, bytes], size: int
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
    connection: AsyncConnection, dialect: Dialect, now: datetime, change_set: ChangeSet, *, packs: Sequence[int] = ()
) -> None:
    """Log what was deleted, then what is new from the patient downwards, with the instances of `packs`; add totals."""
    await forget_growth(connection, change_set.gone)
    await dialect.lock_changes(connection)
    await mark_shared_uids(connection, change_set.resources[Level.STUDY], change_set.resources[Level.SERIES])
    rows = [
        {"date": now, "type": code, "level": level.depth, "public_id": public_id}
        for code, level, public_id in _entries(change_set)
    ]
    if rows:
        await connection.execute(tables.changes.insert(), rows)
    if change_set.instances:
        await _log_instances(connection, dialect, now, packs, change_set.moved)
    await connection.execute(
        update(tables.totals).values({name: tables.totals.c[name] + n for name, n in change_set.totals().items()})
    )


def _entries(change_set: ChangeSet) -> Iterator[tuple[int, Level, bytes]]:
    for level, public_id in change_set.gone:
        yield CODES[ChangeType.DELETED], level, public_id
    for level, identifiers in change_set.resources.items():
        for public_id in identifiers:
            yield CODES[_NEW[level]], level, public_id
    for public_id in change_set.moved.values():
        yield CODES[ChangeType.NEW_INSTANCE], Level.IMAGE, public_id


async def _log_instances(
    connection: AsyncConnection, dialect: Dialect, now: datetime, packs: Sequence[int], without: Collection[int]
) -> None:
    """Copy the identifiers from the rows that the transaction has just inserted: they are in the database already."""
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


_MOST_NAMES: Final = 1_000
"""Names under no Patient ID that are counted."""


async def write_entries(
    connection: AsyncConnection, dialect: Dialect, now: datetime, entries: Sequence[tuple[ChangeType, Level, str]]
) -> None:
    """Log entries about resources, by their public identifiers."""
    await dialect.lock_changes(connection)
    rows = [
        {"date": now, "type": CODES[kind], "level": level.depth, "public_id": parse_public_id(public_id)}
        for kind, level, public_id in entries
    ]
    await connection.execute(tables.changes.insert(), rows)


async def read_page(
    connection: AsyncConnection, since: int, to: int | None, limit: int, types: Sequence[ChangeType]
) -> ChangePage:
    """Return the entries with since < seq <= to, oldest first, at most `limit`."""
    chosen = (
        select(tables.changes)
        .where(tables.changes.c.seq > since)
        .order_by(tables.changes.c.seq)
        .limit(max(limit, 0) + 1)
    )
    if to is not None:
        chosen = chosen.where(tables.changes.c.seq <= to)
    if types:
        chosen = chosen.where(tables.changes.c.type.in_([CODES[kind] for kind in types]))
    if types and ABOVE_INSTANCES.issuperset(types):
        chosen = chosen.where(tables.changes.c.level < Level.IMAGE.depth)  # an index leaves the many instances out
    found = [_change(row) for row in await connection.execute(chosen)]
    shown = found[: max(limit, 0)]
    return ChangePage(shown, done=len(shown) == len(found), last=shown[-1].seq if shown else since)


async def read_last(connection: AsyncConnection) -> Change | None:
    """Return the newest entry, None while there is none."""
    row = (await connection.execute(select(tables.changes).order_by(tables.changes.c.seq.desc()).limit(1))).first()
    return _change(row) if row else None


async def read_statistics(connection: AsyncConnection) -> Statistics:
    """Return the totals, which every writer keeps up to date."""
    row = (await connection.execute(select(tables.totals))).one()
    split = await connection.scalar(select(func.count()).select_from(split_studies().subquery()))
    series = await connection.scalar(select(func.count()).select_from(split_series().subquery()))
    names = await connection.scalar(select(func.count()).select_from(unidentified_patients(_MOST_NAMES).subquery()))
    return Statistics(
        patients=row.patients, studies=row.studies, series=row.series, instances=row.instances, packs=row.packs,
        conflicts=row.conflicts, size=row.size, split_studies=split or 0,
        split_series=series or 0, unidentified=names if names and names > 1 else 0,
    )  # fmt: skip


async def read_senders(connection: AsyncConnection, limit: int) -> list[Sender]:
    """Return who has sent the packs of the index, the last one first."""
    c = tables.packs.c
    last = func.max(c.received)
    chosen = (
        select(c.calling_aet, c.remote_host, last, func.count(), func.sum(c.instances))
        .where(c.reconciled_by.is_(None))
        .group_by(c.calling_aet, c.remote_host)
        .order_by(last.desc())
        .limit(limit)
    )
    return [Sender(*row) for row in await connection.execute(chosen)]


def _change(row: Row[Any]) -> Change:
    return Change(row.seq, _TYPES[row.type], _LEVELS[row.level], format_public_id(row.public_id), row.date)
