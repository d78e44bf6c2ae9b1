"""Reading the change log and the totals."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.dicom.identity import format_public_id
from osteon.dicom.models import Level
from osteon.index.log import CODES
from osteon.index.port import Change, ChangePage, ChangeType, Statistics
from osteon.index.tables import changes, totals

_TYPES: Final = {code: kind for kind, code in CODES.items()}
_LEVELS: Final = {level.depth: level for level in Level}
_ABOVE_INSTANCES: Final = set(ChangeType) - {ChangeType.NEW_INSTANCE, ChangeType.DELETED}


async def page(
    connection: AsyncConnection, since: int, to: int | None, limit: int, types: Sequence[ChangeType]
) -> ChangePage:
    """Return the entries with since < seq <= to, oldest first, at most `limit`."""
    chosen = select(changes).where(changes.c.seq > since).order_by(changes.c.seq).limit(max(limit, 0) + 1)
    if to is not None:
        chosen = chosen.where(changes.c.seq <= to)
    if types:
        chosen = chosen.where(changes.c.type.in_([CODES[kind] for kind in types]))
    if types and _ABOVE_INSTANCES.issuperset(types):
        chosen = chosen.where(changes.c.level < Level.IMAGE.depth)  # an index leaves the many instances out
    found = [_change(row) for row in await connection.execute(chosen)]
    shown = found[: max(limit, 0)]
    return ChangePage(shown, done=len(shown) == len(found), last=shown[-1].seq if shown else since)


async def last(connection: AsyncConnection) -> Change | None:
    """Return the newest entry."""
    row = (await connection.execute(select(changes).order_by(changes.c.seq.desc()).limit(1))).first()
    return _change(row) if row else None


async def statistics(connection: AsyncConnection) -> Statistics:
    """Return the totals, which every writer keeps up to date."""
    row = (await connection.execute(select(totals))).one()
    return Statistics(
        patients=row.patients, studies=row.studies, series=row.series, instances=row.instances, packs=row.packs,
        conflicts=row.conflicts, size=row.size,
    )  # fmt: skip


def _change(row: Row[Any]) -> Change:
    return Change(row.seq, _TYPES[row.type], _LEVELS[row.level], format_public_id(row.public_id), row.date)
