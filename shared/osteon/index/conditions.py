"""One matching key as SQL: the kinds of matching of PS3.4 C.2.2.2, by the kind of attribute.

Every condition names columns of the four level tables; `osteon.index.search` joins them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, exists, false, literal, not_, or_, select

from osteon.dicom.attributes import COMPUTED, REQUEST_ATTRIBUTES
from osteon.dicom.query import Condition, DateTimeRange, Empty, Level, Matching, OneOf, Range, Single, Wildcard
from osteon.errors import Invalid
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.fields import FIELDS, Field, Kind, column_name
from osteon.index.names_match import NameMatch
from osteon.index.ranges import between, starts_with
from osteon.index.values import clean, date_bounds, number, text_key, time_bounds


class BadSearch(Invalid):
    """The search asks for an attribute or a comparison that the index does not have."""


_COUNTS = {
    "NumberOfPatientRelatedStudies": tables.patients.c.studies,
    "NumberOfPatientRelatedSeries": tables.patients.c.series,
    "NumberOfPatientRelatedInstances": tables.patients.c.instances,
    "NumberOfStudyRelatedSeries": tables.studies.c.series,
    "NumberOfStudyRelatedInstances": tables.studies.c.instances,
    "NumberOfSeriesRelatedInstances": tables.series.c.instances,
}
_REQUESTS = "RequestAttributesSequence"
Bounds = Callable[[str], tuple[str, str] | None]


def level_of(path: tuple[str, ...]) -> Level:
    """Return the level of a matching key; raises `BadSearch` when the index does not hold it."""
    if path[0] == _REQUESTS and len(path) == 2 and path[1] in REQUEST_ATTRIBUTES:
        return Level.SERIES
    if len(path) == 1 and path[0] in FIELDS:
        return FIELDS[path[0]].level
    for level, keywords in COMPUTED.items():
        if len(path) == 1 and path[0] in keywords:
            return level
    raise BadSearch(f"{'.'.join(path)} is not an attribute that the index holds")


def row_level(keyword: str, searched: Level) -> Level:
    """Return the level whose rows answer: a study's row has the attributes of its patient too."""
    level = level_of((keyword,))
    return Level.STUDY if level is Level.PATIENT and searched is not level and keyword in FIELDS else level


@dataclass(frozen=True, slots=True)
class Conditions:
    """Turns matching keys into SQL for a search at one level."""

    dialect: Dialect
    level: Level
    fuzzy: bool = False
    case_sensitive: bool = False

    def of(self, condition: Condition) -> ColumnElement[bool]:
        """Return the SQL of a key that is no part of a sequence."""
        keyword, matching = condition.path[0], condition.matching
        if keyword in _COUNTS:
            return self._number(_COUNTS[keyword], matching)
        if keyword == "ModalitiesInStudy":
            return self._any_series(matching)
        if keyword == "SOPClassesInStudy":
            return self._any_sop_class(matching)
        if keyword == "AvailableTransferSyntaxUID":
            return self._uid_number(tables.instances.c.transfer_syntax, matching)
        if keyword == "SOPClassUID":
            return self._uid_number(tables.instances.c.sop_class, matching)
        return self._held(FIELDS[keyword], matching)

    def of_requests(self, conditions: list[Condition]) -> ColumnElement[bool]:
        """Return the SQL of keys within Request Attributes Sequence: one item must match all (PS3.4 C.2.2.2.6)."""
        requests = tables.series_requests
        parts = []
        for condition in conditions:
            name = column_name(condition.path[1])
            if isinstance(condition.matching, Empty):
                parts.append(requests.c[name] == "")
            else:
                parts.append(self._text(requests.c[name], requests.c[f"{name}_key"], condition.matching))
        owners = tables.series.c.id.in_(select(requests.c.series).where(*parts))
        if not all(isinstance(condition.matching, Empty) for condition in conditions):
            return owners
        return or_(owners, not_(exists().where(requests.c.series == tables.series.c.id)))

    def of_moments(self, moments: DateTimeRange) -> ColumnElement[bool]:
        """Return the SQL of combined date and time matching; an unknown time of a day at the edge matches."""
        date, time = (self._column(FIELDS[keyword], key=True) for keyword in (moments.date, moments.time))
        parts: list[ColumnElement[bool]] = [date.is_not(None)]
        if moments.low is not None:
            day, moment = _split(moments.low, "00010101000000.000000")
            parts += [date >= day, or_(date > day, time.is_(None), time >= moment)]
        if moments.high is not None:
            day, moment = _split(moments.high, "99991231235959.999999")
            parts += [date <= day, or_(date < day, time.is_(None), time <= moment)]
        return and_(*parts)

    def sort_column(self, keyword: str) -> ColumnElement[Any]:
        """Return what to sort by; raises `BadSearch` for an attribute without an order."""
        if keyword in _COUNTS:
            return _COUNTS[keyword]
        if keyword == "SOPClassUID" or keyword not in FIELDS:
            raise BadSearch(f"can not sort by {keyword}: the index does not hold it as a value")
        return self._column(FIELDS[keyword], key=True)

    def _column(self, field: Field, *, key: bool = False) -> ColumnElement[Any]:
        table = tables.TABLE_OF[row_level(field.keyword, self.level)]
        return table.c[field.key if key and field.key else field.column]

    def _held(self, field: Field, matching: Matching) -> ColumnElement[bool]:
        column = self._column(field)
        key = self._column(field, key=True)
        match field.kind:
            case Kind.NAME:
                level = row_level(field.keyword, self.level)
                return NameMatch(self.dialect, level, field.keyword, fuzzy=self.fuzzy).condition(matching)
            case Kind.NUMBER:
                return self._number(column, matching)
            case Kind.UID:
                return self._uid(column, matching)
            case Kind.DATE | Kind.TIME:
                return self._moment(column, key, matching, date_bounds if field.kind is Kind.DATE else time_bounds)
            case Kind.TEXT:
                return self._several(column, key, matching) if field.several else self._text(column, key, matching)

    def _text(self, raw: ColumnElement[str], key: ColumnElement[str], matching: Matching) -> ColumnElement[bool]:
        """Compare by key; with case by the text too, so that the key's index is of use."""
        match matching:
            case Single(value):
                same = key == text_key(value)
                return and_(same, raw == clean(value)) if self.case_sensitive else same
            case OneOf(values):
                return or_(false(), *(self._text(raw, key, Single(value)) for value in values))
            case Wildcard(pattern):
                fits = self._fits(key, text_key(pattern))
                return and_(fits, self.dialect.wildcard(raw, clean(pattern))) if self.case_sensitive else fits
            case Range(low, high):
                return between(key, None if low is None else text_key(low), None if high is None else text_key(high))
            case Empty():
                return raw.is_(None)

    def _several(self, raw: ColumnElement[str], key: ColumnElement[str], matching: Matching) -> ColumnElement[bool]:
        r"""One of several values, which stand between backslashes, must match."""
        column = raw if self.case_sensitive else key
        form = clean if self.case_sensitive else text_key
        framed = literal("\\") + column + "\\"
        match matching:
            case Single(value):
                return self.dialect.contains(framed, f"\\{form(value)}\\")
            case OneOf(values):
                return or_(false(), *(self._several(raw, key, Single(value)) for value in values))
            case Wildcard(pattern):
                return self.dialect.wildcard(framed, f"*\\{form(pattern)}\\*")
            case _:
                return self._text(raw, key, matching)

    def _fits(self, column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
        if not set(pattern) & set("*?"):
            return column == pattern
        beginning = pattern[: min(pattern.find(c) for c in "*?" if c in pattern)]
        fits = self.dialect.wildcard(column, pattern)
        return and_(starts_with(column, beginning), fits) if beginning else fits

    def _moment(
        self, raw: ColumnElement[str], key: ColumnElement[str], matching: Matching, bounds: Bounds
    ) -> ColumnElement[bool]:
        """Compare dates or times of any precision; a value that is none equals only the same text."""
        match matching:
            case Single(value):
                span = bounds(value)
                return between(key, *span) if span else raw == clean(value)
            case OneOf(values):
                return or_(false(), *(self._moment(raw, key, Single(value), bounds) for value in values))
            case Range(low, high):
                return between(key, _bound(low, bounds, 0), _bound(high, bounds, 1))
            case Wildcard(pattern):
                return self._fits(raw, clean(pattern))
            case Empty():
                return raw.is_(None)

    def _number(self, column: ColumnElement[Any], matching: Matching) -> ColumnElement[bool]:
        match matching:
            case Single(value):
                wanted = number(value)
                return false() if wanted is None else column == wanted
            case OneOf(values):
                return column.in_([wanted for value in values if (wanted := number(value)) is not None])
            case Range(low, high):
                limits = [column >= _integer(low)] if low is not None else []
                limits += [column <= _integer(high)] if high is not None else []
                return and_(column.is_not(None), *limits)
            case Wildcard(pattern):
                return self.dialect.wildcard(cast(column, Text), clean(pattern))
            case Empty():
                return column.is_(None)

    def _uid(self, column: ColumnElement[str], matching: Matching) -> ColumnElement[bool]:
        match matching:
            case Single(value):
                return column == clean(value)
            case OneOf(values):
                return self.dialect.among(column, [clean(value) for value in values])
            case Wildcard(pattern):
                return self._fits(column, clean(pattern))
            case Range(low, high):
                return between(column, low, high)
            case Empty():
                return column.is_(None)

    def _uid_number(self, column: ColumnElement[int], matching: Matching) -> ColumnElement[bool]:
        if isinstance(matching, Empty):
            return false()
        return column.in_(select(tables.uids.c.id).where(self._uid(tables.uids.c.uid, matching)))

    def _any_series(self, matching: Matching) -> ColumnElement[bool]:
        below = tables.series.alias("of_study")
        if isinstance(matching, Empty):
            return not_(exists().where(below.c.study == tables.studies.c.id, below.c.modality.is_not(None)))
        fits = self._text(below.c.modality, below.c.modality_key, matching)
        return tables.studies.c.id.in_(select(below.c.study).where(fits))

    def _any_sop_class(self, matching: Matching) -> ColumnElement[bool]:
        have = tables.study_sop_classes.c
        if isinstance(matching, Empty):
            return false()
        return tables.studies.c.id.in_(select(have.study).where(self._uid_number(have.sop_class, matching)))


def _bound(text: str | None, bounds: Bounds, end: int) -> str | None:
    if text is None:
        return None
    span = bounds(text)
    if span is None:
        raise BadSearch(f"{text[:64]!r} is no date or time: expected YYYYMMDD or HHMMSS.FFFFFF")
    return span[end]


def _split(bound: str, fill: str) -> tuple[str, str]:
    """Return date and time of a moment, what is missing of it filled up."""
    full = bound + fill[len(bound) :]
    return full[:8], full[8:]


def _integer(text: str) -> int:
    value = number(text)
    if value is None:
        raise BadSearch(f"{text[:64]!r} is no integer")
    return value
