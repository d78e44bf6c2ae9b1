"""Notes which patients, studies and series get instances; `osteon.index.stability` finds those that get no more."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, delete, or_
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.dicom.models import Level
from osteon.index.dialect import Dialect
from osteon.index.rule_tables import growing

_g = growing.c


async def note_growth(
    connection: AsyncConnection, dialect: Dialect, grown: Sequence[tuple[Level, bytes]], now: datetime
) -> None:
    """Note that these got an instance; the caller holds their patients."""
    if not grown:
        return
    insert = dialect.insert(growing)
    statement = insert.on_conflict_do_update(
        index_elements=["level", "public_id"], set_={"updated": insert.excluded.updated}
    )
    rows = [{"level": level.depth, "public_id": public_id, "updated": now} for level, public_id in grown]
    await connection.execute(statement, rows)


async def forget_growth(connection: AsyncConnection, gone: Iterable[tuple[Level, bytes]]) -> None:
    """Leave out resources that were deleted: they do not become stable."""
    which = [and_(_g.level == level.depth, _g.public_id == public_id) for level, public_id in gone]
    if which:
        await connection.execute(delete(growing).where(or_(*which)))
