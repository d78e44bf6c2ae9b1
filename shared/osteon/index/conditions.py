"""One matching key as SQL: the kinds of matching of PS3.4 C.2.2.2, by the kind of attribute.

Every condition names columns of the four level tables; `osteon.index.search` joins them.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, not_, or_, select, true

from osteon.dicom.attributes import COMPUTED, REQUEST_ATTRIBUTES
from osteon.dicom.models import Level
from osteon.dicom.query import LAST_UPDATE, DateTimeRange, Empty, Matching, MatchingKey, Wildcard
from osteon.index import tables
from osteon.index.dialect import Dialect
from osteon.index.fields import FIELDS, Field, FieldKind, column_name
from osteon.index.matching_sql import BadSearch, ColumnMatcher
from osteon.index.person_name_sql import PersonNameMatcher
from osteon.index.values import date_bounds, time_bounds

_COUNTS = {
    "NumberOfPatientRelatedStudies": tables.patients.c.studies,
    "NumberOfPatientRelatedSeries": tables.patients.c.series,
    "NumberOfPatientRelatedInstances": tables.patients.c.instances,
    "NumberOfStudyRelatedSeries": tables.studies.c.series,
    "NumberOfStudyRelatedInstances": tables.studies.c.instances,
    "NumberOfSeriesRelatedInstances": tables.series.c.instances,
}
_UID_NUMBERS = {
    "SOPClassUID": tables.instances.c.sop_class,
    "AvailableTransferSyntaxUID": tables.instances.c.transfer_syntax,
}
_REQUESTS = "RequestAttributesSequence"


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

    @property
    def compare(self) -> ColumnMatcher:
        """Compares columns."""
        return ColumnMatcher(self.dialect, self.case_sensitive)

    def of(self, condition: MatchingKey) -> ColumnElement[bool]:
        """Return the SQL of a key that is not part of a sequence."""
        keyword, matching = condition.path[0], condition.matching
        if isinstance(matching, Wildcard) and not matching.pattern.strip("*"):
            return true()  # universal matching (PS3.4 C.2.2.2.3): absent values match too
        if keyword in _COUNTS:
            return self.compare.number(_COUNTS[keyword], matching)
        if keyword in _UID_NUMBERS:
            return self._uid_number(_UID_NUMBERS[keyword], matching)
        if keyword in FIELDS:
            return self._held(FIELDS[keyword], matching)
        return self._any_series(matching) if keyword == "ModalitiesInStudy" else self._any_sop_class(matching)

    def of_requests(self, conditions: list[MatchingKey]) -> ColumnElement[bool]:
        """Return the SQL of keys within Request Attributes Sequence: one item must match all (PS3.4 C.2.2.2.6)."""
        requests = tables.series_requests
        parts = []
        for condition in conditions:
            name = column_name(condition.path[1])
            if isinstance(condition.matching, Empty):
                parts.append(requests.c[name] == "")
            else:
                parts.append(self.compare.text(requests.c[name], requests.c[f"{name}_key"], condition.matching))
        owners = tables.series.c.id.in_(select(requests.c.series).where(*parts))
        if not all(isinstance(condition.matching, Empty) for condition in conditions):
            return owners
        return or_(owners, not_(exists().where(requests.c.series == tables.series.c.id)))

    def of_moments(self, moments: DateTimeRange) -> ColumnElement[bool]:
        """Return the SQL of combined date and time matching; an unknown time of a day at the edge matches."""
        for keyword, kind in ((moments.date, FieldKind.DATE), (moments.time, FieldKind.TIME)):
            if keyword not in FIELDS or FIELDS[keyword].kind is not kind:
                raise BadSearch(f"{keyword} is not a {kind.name.lower()} that the index holds")
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
        if keyword == LAST_UPDATE and self.level is not Level.IMAGE:
            table = tables.study_updates if self.level is Level.STUDY else tables.TABLE_OF[self.level]
            return table.c.updated
        if keyword == "SOPClassUID" or keyword not in FIELDS:
            raise BadSearch(f"cannot sort by {keyword}: the index does not hold it as a value")
        return self._column(FIELDS[keyword], key=True)

    def _column(self, field: Field, *, key: bool = False) -> ColumnElement[Any]:
        table = tables.TABLE_OF[row_level(field.keyword, self.level)]
        return table.c[field.key if key and field.key else field.column]

    def _held(self, field: Field, matching: Matching) -> ColumnElement[bool]:
        column = self._column(field)
        key = self._column(field, key=True)
        match field.kind:
            case FieldKind.NAME:
                level = row_level(field.keyword, self.level)
                return PersonNameMatcher(self.dialect, level, field.keyword, fuzzy=self.fuzzy).condition(matching)
            case FieldKind.NUMBER:
                return self.compare.number(column, matching)
            case FieldKind.UID:
                return self.compare.uid(column, matching)
            case FieldKind.DATE | FieldKind.TIME:
                return self.compare.moment(
                    column, key, matching, date_bounds if field.kind is FieldKind.DATE else time_bounds
                )
            case FieldKind.TEXT:
                return (
                    self.compare.several(column, key, matching)
                    if field.several
                    else self.compare.text(column, key, matching)
                )

    def _uid_number(self, column: ColumnElement[int], matching: Matching) -> ColumnElement[bool]:
        if isinstance(matching, Empty):
            return false()
        return column.in_(select(tables.uids.c.id).where(self.compare.uid(tables.uids.c.uid, matching)))

    def _any_series(self, matching: Matching) -> ColumnElement[bool]:
        below = tables.series.alias("of_study")
        if isinstance(matching, Empty):
            return not_(exists().where(below.c.study == tables.studies.c.id, below.c.modality_key.is_not(None)))
        fits = self.compare.text(below.c.modality, below.c.modality_key, matching)
        return tables.studies.c.id.in_(select(below.c.study).where(fits))

    def _any_sop_class(self, matching: Matching) -> ColumnElement[bool]:
        have = tables.study_sop_classes.c
        if isinstance(matching, Empty):
            return false()
        return tables.studies.c.id.in_(select(have.study).where(self._uid_number(have.sop_class, matching)))


def _split(bound: str, fill: str) -> tuple[str, str]:
    """Return date and time of a moment, what is missing of it filled up."""
    full = bound + fill[len(bound) :]
    return full[:8], full[8:]
