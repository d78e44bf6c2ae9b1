"""The packs that rows refer to, a page at a time and in the order of their ids, to be compared with the objects."""

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import Row, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.pack_records import PackRows
from osteon.archive.resources import Location
from osteon.index import tables
from osteon.index.conflicts import asides
from osteon.index.database import Database
from osteon.index.locations import PACK_COLUMNS, locations_of, of_instances, pack_places
from osteon.index.uids import Uids

_PAGE: Final = 500
_p, _i = tables.packs.c, tables.instances.c


async def packs(database: Database, after: str, study_uid: str | None, only: str | None) -> AsyncIterator[PackRows]:
    """Iterate over the packs with ids beyond `after`; a transaction a page."""
    while True:
        chosen = select(tables.packs).where(_p.pack_id > after).order_by(_p.pack_id).limit(_PAGE)
        if study_uid is not None:
            chosen = chosen.where(_p.study_uid == study_uid)
        if only is not None:
            chosen = chosen.where(_p.pack_id == only)
        async with database.read() as connection:
            rows = list(await connection.execute(chosen))
            ids = [row.id for row in rows]
            held = await _held(connection, tables.instances, ids)
            aside = await _held(connection, tables.conflicts, ids)
        for row in rows:
            yield _pack_rows(row, *held.get(row.id, (0, 0)), *aside.get(row.id, (0, 0)))
        if len(rows) < _PAGE:
            return
        after = rows[-1].pack_id


async def _held(connection: AsyncConnection, table: Table, packs: list[int]) -> dict[int, tuple[int, int]]:
    """Return how many rows of a table refer to each pack, and where the last of them ends."""
    c = table.c
    end = func.max(c.byte_offset + c.byte_length)
    found = await connection.execute(select(c.pack, func.count(), end).where(c.pack.in_(packs)).group_by(c.pack))
    return {pack: (n, last) for pack, n, last in found}


def _pack_rows(row: Row[Any], instances: int, end: int, aside: int, aside_end: int) -> PackRows:
    key, sidecar = pack_places(row.pack_id, row.study_uid, row.series_uid, row.sidecar_offset)
    return PackRows(
        pack_id=row.pack_id, key=key, sidecar=sidecar, size=row.size, stored=row.stored,
        conflicts=row.conflicts, instances=instances, aside=aside, end=max(end, aside_end),
    )  # fmt: skip


async def members(database: Database, uids: Uids, pack_id: str) -> AsyncIterator[Location]:
    """Iterate over what is served from a pack, then over what it keeps aside; a transaction a page."""
    after = -1
    while True:
        chosen = of_instances().where(_p.pack_id == pack_id, _i.byte_offset > after).order_by(_i.byte_offset)
        async with database.read() as connection:
            rows = list(await connection.execute(chosen.limit(_PAGE)))
            found = await locations_of(connection, uids, rows)
        for each in found:
            yield each
        if len(rows) < _PAGE:
            break
        after = rows[-1].byte_offset
    async with database.read() as connection:
        aside = await asides(connection, uids, _p.pack_id == pack_id)
    for each in aside:
        yield each


async def duplicate_packs(connection: AsyncConnection, pack_id: str) -> list[str]:
    """Return the keys of packs that hold instances of a pack too, the latest first."""
    pack_duplicates = tables.pack_duplicates.c
    own = select(_p.id).where(_p.pack_id == pack_id).scalar_subquery()
    chosen = (
        select(*PACK_COLUMNS)
        .join(tables.pack_duplicates, pack_duplicates.pack == _p.id)
        .join(tables.instances, pack_duplicates.instance == _i.id)
        .where(_i.pack == own, _p.id != own)
        .distinct()
        .order_by(_p.pack_id.desc())
    )
    return [pack_places(*row)[0] for row in await connection.execute(chosen)]
