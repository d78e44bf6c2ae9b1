"""The tables beside patients, studies and series: names, SOP classes, requests."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.dicom.models import Level
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.fields import FIELDS, FieldKind
from osteon.index.name_keys import name_keys, sound, words
from osteon.index.values import clean, text_key

_CHUNK = 1000


async def write_names(
    connection: AsyncConnection, level: Level, filled: Iterable[tuple[int, Mapping[str, str]]]
) -> None:
    """Index the person names among attributes (by keyword) that are new in rows of a level."""
    keys: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for owner, attributes in filled:
        for keyword, value in attributes.items():
            if not value or FIELDS[keyword].kind is not FieldKind.NAME:
                continue
            found = name_keys(clean(value))
            of = {"owner": owner, "keyword": keyword}
            keys += ({**of, "key": key} for key in found)
            distinct = dict.fromkeys(word for key in found for word in words(key))
            parts += ({**of, "word": word, "sound": sound(word)} for word in distinct)
    for table, rows in zip(tables.NAMES[level], (keys, parts), strict=True):
        if rows:
            await connection.execute(table.insert(), rows)


async def write_sop_classes(connection: AsyncConnection, dialect: Dialect, pairs: set[tuple[int, int]]) -> None:
    """Note (study, SOP class) pairs that are not known yet."""
    rows = [{"study": study, "sop_class": sop_class} for study, sop_class in sorted(pairs)]
    if rows:
        await connection.execute(dialect.insert(tables.study_sop_classes).on_conflict_do_nothing(), rows)


async def write_requests(connection: AsyncConnection, found: Sequence[tuple[int, tuple[tuple[str, str], ...]]]) -> None:
    """Give series the items of their first instance that has any; `found` is (series, items) in that order."""
    first = dict(reversed(found))
    owners = list(first)
    for start in range(0, len(owners), _CHUNK):
        column = tables.series_requests.c.series
        have = await connection.execute(select(column).distinct().where(column.in_(owners[start : start + _CHUNK])))
        for row in have:
            del first[row.series]
    rows = [_request_row(owner, *item) for owner, items in first.items() for item in dict.fromkeys(items)]
    if rows:
        await connection.execute(tables.series_requests.insert(), rows)


def _request_row(owner: int, step: str, procedure: str) -> dict[str, Any]:
    return {
        "series": owner,
        "scheduled_procedure_step_id": clean(step),
        "scheduled_procedure_step_id_key": text_key(step),
        "requested_procedure_id": clean(procedure),
        "requested_procedure_id_key": text_key(procedure),
    }
