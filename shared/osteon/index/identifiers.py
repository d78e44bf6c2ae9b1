"""Finding rows by the identifiers that people and clients have."""

from collections.abc import Sequence

from sqlalchemy import null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.errors import ResourceNotFound
from osteon.archive.resources import Child
from osteon.dicom.identity import format_public_id, parse_public_id
from osteon.dicom.models import Level
from osteon.errors import Invalid
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.values import clean, text_key


async def find_row(connection: AsyncConnection, level: Level, public_id: str) -> int:
    """Return the row of a public identifier at a level; raises `ResourceNotFound`."""
    table = tables.TABLE_OF[level]
    row: int | None = await connection.scalar(select(table.c.id).where(table.c.public_id == _digest(public_id)))
    if row is None:
        raise ResourceNotFound(f"no {level.lower()} has the identifier {public_id[:80]!r}")
    return row


async def find_row_any_level(connection: AsyncConnection, public_id: str) -> tuple[Level, int]:
    """Return level and row of a public identifier of any level; raises `ResourceNotFound`."""
    level, rows = await find_rows(connection, [public_id])
    return level, rows[0]


async def find_rows(connection: AsyncConnection, public_ids: Sequence[str]) -> tuple[Level, list[int]]:
    """Return the rows of public identifiers, which are of one level; raises `ResourceNotFound` when there is none."""
    digests = [_digest(public_id) for public_id in public_ids]
    for level in Level:
        table = tables.TABLE_OF[level]
        rows = list(await connection.scalars(select(table.c.id).where(table.c.public_id.in_(digests))))
        if rows:
            return level, rows
    raise ResourceNotFound(f"nothing has the identifier {', '.join(public_ids)[:80]!r}")


async def lookup(connection: AsyncConnection, identifier: str) -> list[tuple[Level, str]]:
    """Find a Patient ID, an Accession Number or a UID, in that order; case does not count."""
    key, uid = text_key(identifier), clean(identifier)
    columns = (
        (Level.PATIENT, tables.patients.c.patient_id_key, key),
        (Level.STUDY, tables.studies.c.accession_number_key, key),
        (Level.STUDY, tables.studies.c.study_instance_uid, uid),
        (Level.SERIES, tables.series.c.series_instance_uid, uid),
        (Level.IMAGE, tables.instances.c.sop_instance_uid, uid),
    )
    found: dict[tuple[Level, str], None] = {}
    if not key:
        return []
    for level, column, value in columns:
        table = tables.TABLE_OF[level]
        rows = await connection.execute(select(table.c.public_id).where(column == value).order_by(table.c.id))
        found |= {(level, format_public_id(row.public_id)): None for row in rows}
    return list(found)


def _digest(public_id: str) -> bytes:
    try:
        return parse_public_id(public_id)
    except Invalid as error:
        raise ResourceNotFound(str(error)) from None


async def read_identifiers(
    connection: AsyncConnection, dialect: Dialect, level: Level, rows: Sequence[int]
) -> list[str]:
    """Return the public identifiers of rows, in their order; those of rows that are gone are left out."""
    c = tables.TABLE_OF[level].c
    found = await connection.execute(select(c.id, c.public_id).where(dialect.among(c.id, list(rows))))
    known = {row.id: format_public_id(row.public_id) for row in found}
    return [known[row] for row in rows if row in known]


async def read_children(connection: AsyncConnection, level: Level, public_ids: Sequence[str]) -> dict[str, list[Child]]:
    """Return what is directly below resources, in the order of arrival."""
    lower = list(Level)[level.depth + 1]
    upper, below = tables.TABLE_OF[level].c, tables.TABLE_OF[lower].c
    number = below.instance_number if lower is Level.IMAGE else null()
    columns = upper.public_id.label("above"), below.public_id, number.label("number")
    chosen = upper.public_id.in_([parse_public_id(each) for each in public_ids])
    statement = select(*columns).where(below[tables.PARENT_OF[lower]] == upper.id, chosen).order_by(below.id)
    children: dict[str, list[Child]] = {each: [] for each in public_ids}
    for row in await connection.execute(statement):
        children[format_public_id(row.above)].append(Child(format_public_id(row.public_id), row.number))
    return children
