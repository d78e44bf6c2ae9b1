"""A `Search` as SQL: which rows of its level match, page by page.

Pages follow the order of arrival, or by Study Date where a range of dates is searched. Dates mostly rise as studies
arrive: a database that goes through all rows in the order of arrival, to stop at the end of a page, would
go through nearly all of the archive before it comes to the last month.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, FromClause, Row, Select, Table, and_, false, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from osteon.archive.errors import BadCursor
from osteon.dicom.models import Level
from osteon.dicom.query import LAST_UPDATE, DateTimeRange, MatchingKey, OneOf, Order, Range, Search, Single
from osteon.index import tables
from osteon.index.conditions import Conditions, level_of, row_level
from osteon.index.dialect import Dialect
from osteon.index.fields import FIELDS
from osteon.index.identifiers import find_rows
from osteon.index.matching_sql import BadSearch
from osteon.index.shared_uids import HAS_SHARED_UIDS, is_first_match, of_any_patient
from osteon.index.user_data_sql import has_labels, has_metadata, join_metadata, sorted_metadata
from osteon.index.values import date_bounds, date_key

_SEQUENCE = 2
"""Length of a key's path that goes into a sequence."""
_DATE: Final = "StudyDate"
_STUDY_UID: Final = ("StudyInstanceUID",)


_Parents = tuple[Level, list[int]] | None
"""What matches must be below: a level and rows of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: at a row and, when pages go by date, its date."""

    row: int
    date: str | None = None


class Page(NamedTuple):
    """The ids of a page's rows, in order, the cursor of the next page, and whether rows with one UID were merged."""

    rows: list[int]
    cursor: str | None
    merges: bool = False


async def page(connection: AsyncConnection, dialect: Dialect, search: Search) -> Page:
    """Return a page of rows. Rows with one UID are only looked for where the archive has some."""
    after = _read_cursor(search)
    if search.limit <= 0:
        return Page([], None)
    parents = await find_rows(connection, search.parents) if search.parents else None
    found = await _rows(connection, dialect, search, parents, after)
    merges = _has_shared_uids(search, found)
    if merges:
        found = await _rows(connection, dialect, search, parents, after, merging=True)
    by_date = _goes_by_date(search)
    places = [Place(row[0], row[1] if by_date else None) for row in found]
    more = len(places) > search.limit
    del places[search.limit :]
    cursor = _write_cursor(search.level, places[-1]) if more and not search.order else None
    return Page([place.row for place in places], cursor, merges)


async def _rows(
    connection: AsyncConnection,
    dialect: Dialect,
    search: Search,
    parents: _Parents,
    after: Place | None,
    *,
    merging: bool = False,
) -> Sequence[Any]:
    """Return the places of a page and one more; those without a value of a falling order by a statement of their own.

    They come last, but PostgreSQL's indexes have them first when they are read backwards. Metadata are in a table of
    their own, whose index only knows those that there are.
    """
    order = search.order[0] if search.order else None
    if order is None or not (order.metadata is not None or (order.descending and dialect.absent_values_last)):
        statement = page_statement(dialect, search, parents, after, merging=merging)
        return list(await connection.execute(statement))
    present = page_statement(dialect, search, parents, merging=merging, has_value=True)
    found = list(await connection.execute(present))
    if len(found) > search.limit:
        return found
    before = len(found)
    if search.offset and not found:
        every = present.order_by(None).limit(None).offset(None).subquery()
        before = int(await connection.scalar(select(func.count()).select_from(every)) or 0)
    rest = replace(search, limit=search.limit - len(found), offset=0 if found else search.offset - before)
    absent = page_statement(dialect, rest, parents, merging=merging, has_value=False)
    return [*found, *(await connection.execute(absent))]


def _has_shared_uids(search: Search, found: Sequence[Row[Any]]) -> bool:
    """Whether to search again for rows with one UID; what was found says so, unless the wrong patient hid it."""
    if not search.one_per_uid:
        return False
    return bool(found[0][-1]) if found else any(_is_about_patient(search, each) for each in search.conditions)


async def count(connection: AsyncConnection, dialect: Dialect, search: Search, at_most: int | None = None) -> int:
    """Return how many rows match, `at_most` where there are more."""
    parents = await find_rows(connection, search.parents) if search.parents else None
    merging = search.one_per_uid and bool(await connection.scalar(select(HAS_SHARED_UIDS)))
    counted: Select[Any]
    if search.conditions or search.labels or search.metadata or parents or merging:
        counted = count_statement(dialect, search, parents, at_most=at_most, merging=merging)
    else:
        counted = select(tables.totals.c[tables.TABLE_OF[search.level].name])
    found = int(await connection.scalar(counted) or 0)
    return found if at_most is None else min(found, at_most)


def count_statement(
    dialect: Dialect, search: Search, parents: _Parents = None, *, at_most: int | None = None, merging: bool = False
) -> Select[Any]:
    """Return the statement that counts matches; a database stops counting at `at_most`."""
    if at_most is None:
        return _matching(dialect, search, parents, func.count(), merging=merging)
    row = tables.TABLE_OF[search.level].c.id
    return select(func.count()).select_from(
        _matching(dialect, search, parents, row, merging=merging).limit(at_most).subquery()
    )


def page_statement(
    dialect: Dialect,
    search: Search,
    parents: _Parents = None,
    after: Place | None = None,
    *,
    merging: bool = False,
    has_value: bool | None = None,
) -> Select[Any]:
    """Return the statement for the places of one page and one row more.

    `merging`: of rows with one UID the first that matches. Without it, a last column says whether there are any.
    `has_value`: only rows with a value of the first order, or only those without.
    """
    row, date = tables.TABLE_OF[search.level].c.id, tables.studies.c.study_date_key
    by_date = _goes_by_date(search)
    columns: list[ColumnElement[Any]] = [row, date] if by_date else [row]
    if search.one_per_uid and not merging:
        columns.append(HAS_SHARED_UIDS)
    metadata = sorted_metadata(search)
    statement = _matching(dialect, search, parents, *columns, merging=merging, metadata=metadata)
    if after is not None:
        behind = row > after.row
        statement = statement.where(and_(date >= after.date, or_(date > after.date, behind)) if by_date else behind)
    if by_date:
        statement = statement.order_by(date)
    for number, order in enumerate(search.order):
        if order.metadata is None:
            column = Conditions(dialect, search.level).sort_column(order.keyword)
        else:
            column = metadata[order.metadata].c.key
        falls = order.descending
        if number or has_value is None:
            statement = statement.order_by((column.desc() if falls else column.asc()).nulls_last())
        else:
            statement = statement.where(column.is_not(None) if has_value else column.is_(None))
            statement = statement.order_by(column.desc() if falls else column.asc()) if has_value else statement
    falling = bool(search.order) and search.order[-1].descending
    statement = statement.order_by(row.desc() if falling else row).limit(search.limit + 1)
    return statement.offset(search.offset) if search.offset > 0 else statement


def _goes_by_date(search: Search) -> bool:
    """Whether only rows with a Study Date match, within a span, and no other order is requested."""
    return not search.order and any(_spans_dates(condition) for condition in search.conditions)


def _spans_dates(condition: MatchingKey | DateTimeRange) -> bool:
    if isinstance(condition, DateTimeRange):
        return condition.date == _DATE
    match condition.matching:
        case Range():
            return condition.path == (_DATE,)
        case Single(value):
            return condition.path == (_DATE,) and date_bounds(value) is not None
    return False


def _matching(
    dialect: Dialect,
    search: Search,
    parents: _Parents,
    *what: ColumnElement[Any],
    merging: bool = False,
    metadata: dict[int, FromClause] | None = None,
) -> Select[Any]:
    levels = [_sorted_level(search.level, order) for order in search.order]
    clauses: list[ColumnElement[bool]] = []
    make = Conditions(dialect, search.level, search.fuzzy, search.case_sensitive)
    requests = [c for c in search.conditions if isinstance(c, MatchingKey) and len(c.path) == _SEQUENCE]
    for condition in search.conditions:
        for path in _paths(condition):
            _check_level(search.level, level_of(path), ".".join(path))
            levels.append(Level.SERIES if len(path) == _SEQUENCE else row_level(path[0], search.level))
        if isinstance(condition, DateTimeRange):
            clauses.append(make.of_moments(condition))
        elif len(condition.path) == 1:
            clause = make.of(condition)
            clauses.append(of_any_patient(clause) if merging and _is_about_patient(search, condition) else clause)
    if requests:
        clauses.append(make.of_requests(requests))
    clauses += [has_metadata(search.level, each, make.compare) for each in search.metadata]
    if search.labels and search.labels.labels:
        clauses.append(has_labels(search.level, search.labels))
    if parents:
        level, clause = _below(dialect, search.level, parents)
        levels.append(level)
        clauses.append(clause)
    top = min((level.depth for level in levels), default=search.level.depth)
    joined = _joined(search.level, top)
    if search.level is Level.STUDY and any(order.keyword == LAST_UPDATE for order in search.order):
        joined = joined.join(tables.study_updates, tables.study_updates.c.study == tables.studies.c.id)
    joined = join_metadata(joined, search.level, metadata or {})
    if merging and search.level in (Level.STUDY, Level.SERIES):
        clauses.append(is_first_match(search.level, joined, clauses))
    return select(*what).select_from(joined).where(*clauses)


def _sorted_level(searched: Level, order: Order) -> Level:
    """Return the level whose rows have what is sorted by."""
    if order.keyword == LAST_UPDATE or order.metadata is not None:
        return searched
    _check_level(searched, level_of((order.keyword,)), order.keyword)
    return row_level(order.keyword, searched)


def _is_about_patient(search: Search, condition: MatchingKey | DateTimeRange) -> bool:
    """Whether a key names the patient of a study that another key names: one of several, where images name several."""
    keyword = condition.date if isinstance(condition, DateTimeRange) else condition.path[0]
    if not search.level.is_below(Level.STUDY) or keyword not in FIELDS:
        return False
    of_study = any(
        isinstance(other, MatchingKey) and other.path == _STUDY_UID and isinstance(other.matching, Single | OneOf)
        for other in search.conditions
    )
    return of_study and FIELDS[keyword].level is Level.PATIENT


def _paths(condition: MatchingKey | DateTimeRange) -> list[tuple[str, ...]]:
    return [(condition.date,), (condition.time,)] if isinstance(condition, DateTimeRange) else [condition.path]


def _check_level(searched: Level, level: Level, name: str) -> None:
    if level.depth > searched.depth:
        raise BadSearch(f"{name} belongs to {level}, below the {searched} that is searched")


def _below(dialect: Dialect, searched: Level, parents: tuple[Level, list[int]]) -> tuple[Level, ColumnElement[bool]]:
    """Return the condition that a row is below one of others, and the highest level that it needs."""
    level, rows = parents
    if level.depth >= searched.depth:
        return searched, false()
    child = list(Level)[level.depth + 1]
    column = tables.TABLE_OF[child].c[tables.PARENT_OF[child]]
    return child, column == rows[0] if len(rows) == 1 else dialect.among(column, rows)


def _joined(level: Level, top: int) -> Any:
    """Join the tables from a level upwards to the depth `top`."""
    joined: Any = tables.TABLE_OF[level]
    below: Table = tables.TABLE_OF[level]
    for upper in reversed(list(Level)[top : level.depth]):
        child = list(Level)[upper.depth + 1]
        table = tables.TABLE_OF[upper]
        joined = joined.join(table, below.c[tables.PARENT_OF[child]] == table.c.id)
        below = table
    return joined


def _write_cursor(level: Level, place: Place) -> str:
    text = f"1.{level}.{place.row}" + (f".{place.date}" if place.date else "")
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(search: Search) -> Place | None:
    """Return where the last page ended."""
    if search.cursor is None:
        return None
    if search.order or search.offset:
        raise BadCursor("a cursor cannot be combined with an order or an offset")
    try:
        text = base64.b64decode(search.cursor + "=" * (-len(search.cursor) % 4), altchars=b"-_", validate=True).decode()
        version, level, row, *dates = text.split(".")
        number = int(row)
    except (binascii.Error, ValueError):
        raise BadCursor(f"{search.cursor[:80]!r} is not a cursor of this index") from None
    fits = (version, level) == ("1", search.level.value) and 0 < number < 1 << 63
    if not fits or [date_key(date) for date in dates] != dates or len(dates) != _goes_by_date(search):
        raise BadCursor(f"{search.cursor[:80]!r} is not a cursor of this search at {search.level}")
    return Place(number, *dates)
