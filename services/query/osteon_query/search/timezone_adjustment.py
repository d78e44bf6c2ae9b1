"""Timezone query adjustment (PS3.4 C.2.2.2.5, C.5.1.1): keys in the requester's time zone.

Studies say themselves in which zone their dates and times are (0008,0201), so no single shift of the keys fits all.
The index is searched for dates two days wider, more than any two zones differ, and each match's date and time is
converted to the requester's zone and compared there. A study that says nothing is in the archive's local time.
A time key without a date key is not converted: only a date shows which day's midnight it may cross.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from osteon.archive.resources import Match
from osteon.dicom.attributes import LEVEL_OF
from osteon.dicom.datetime_bounds import parse_offset
from osteon.dicom.models import Level
from osteon.dicom.query import DateTimeRange, MatchingKey, OneOf, Range, Single
from osteon.dicom.value_matching import matches, within
from osteon.index.values import date_key, time_key
from osteon_query.search.results import held_text

_MARGIN = timedelta(days=2)

Moment = tuple[str, str | None]
"""`YYYYMMDD` and `HHMMSS.FFFFFF`, None when the time is not known."""
Filter = Callable[[Match], bool]


@dataclass(frozen=True, slots=True)
class TimezoneConditions:
    """Conditions for the index, and filters for what it finds."""

    conditions: tuple[MatchingKey | DateTimeRange, ...]
    filters: tuple[Filter, ...] = ()

    def accepts(self, match: Match) -> bool:
        """Whether a match holds in the requester's zone."""
        return all(accept(match) for accept in self.filters)


def adjust(conditions: Iterable[MatchingKey | DateTimeRange], zone: timezone, level: Level) -> TimezoneConditions:
    """Take the conditions on dates and their times as meant in `zone`."""
    all_conditions = tuple(conditions)
    dates = {date for c in all_conditions if (date := _date_keyword(c))}
    searched: list[MatchingKey | DateTimeRange] = []
    filters: list[Filter] = []
    for condition in all_conditions:
        keyword = _date_keyword(condition) or _date_of_time(condition)
        if keyword not in dates:
            searched.append(condition)
            continue
        filters.append(_match_filter(condition, keyword, zone, level))
        if (days := _days(condition)) is not None:
            low, high = days
            wide = Range(low and _shift(low, -_MARGIN), high and _shift(high, _MARGIN))
            searched.append(MatchingKey((keyword,), wide))
    return TimezoneConditions(tuple(searched), tuple(filters))


def _date_keyword(condition: MatchingKey | DateTimeRange) -> str:
    """Return the date that a condition bounds, empty when it bounds none."""
    if isinstance(condition, DateTimeRange):
        return condition.date
    keyword = condition.path[0]
    held_with_time = keyword.endswith("Date") and keyword.removesuffix("Date") + "Time" in LEVEL_OF
    return keyword if len(condition.path) == 1 and held_with_time and _days(condition) else ""


def _date_of_time(condition: MatchingKey | DateTimeRange) -> str:
    assert isinstance(condition, MatchingKey)
    keyword = condition.path[0]
    bounded = isinstance(condition.matching, Single | Range)
    return keyword.removesuffix("Time") + "Date" if keyword.endswith("Time") and bounded else "no date"


def _days(condition: MatchingKey | DateTimeRange) -> tuple[str | None, str | None] | None:
    """Return the first and last day that a condition allows, None when it is not on a date."""
    if isinstance(condition, DateTimeRange):
        return condition.low and condition.low[:8], condition.high and condition.high[:8]
    if not condition.path[0].endswith("Date"):
        return None
    match condition.matching:
        case Single(value):
            return value, value
        case OneOf(values):
            return min(values), max(values)
        case Range(low, high):
            return low, high
        case _:
            return None


def _shift(day: str, by: timedelta) -> str:
    try:
        moved = date(int(day[:4]), int(day[4:6]), int(day[6:])) + by
    except OverflowError:
        return day
    return f"{moved.year:04}{moved:%m%d}"


def _match_filter(condition: MatchingKey | DateTimeRange, date_keyword: str, zone: timezone, level: Level) -> Filter:
    date_of = held_text(level, date_keyword)
    time_of = held_text(level, date_keyword.removesuffix("Date") + "Time")
    zone_of = held_text(level, "TimezoneOffsetFromUTC")

    def accept(match: Match) -> bool:
        moment = _moment(date_of(match), time_of(match), zone_of(match), zone)
        return moment is not None and _holds(condition, moment)

    return accept


def _moment(day: str, hour: str, offset: str, zone: timezone) -> Moment | None:
    day_key, hour_key = date_key(day), time_key(hour)
    if day_key is None:
        return None
    if hour_key is None:
        return day_key, None
    try:
        stored = datetime.strptime(day_key + hour_key, "%Y%m%d%H%M%S.%f")
        own = parse_offset(offset)
        moved = (stored.replace(tzinfo=own) if own else stored).astimezone(zone)
    except (ValueError, OverflowError):  # no day of the calendar, a leap second: compared as it stands
        return day_key, hour_key
    return f"{moved.year:04}{moved:%m%d}", f"{moved:%H%M%S.%f}"


def _holds(condition: MatchingKey | DateTimeRange, moment: Moment) -> bool:
    day, hour = moment
    if isinstance(condition, DateTimeRange):
        if hour is None:
            return within(day, condition.low and condition.low[:8], condition.high and condition.high[:8])
        return within(day + hour, condition.low, condition.high)
    value = day if condition.path[0].endswith("Date") else hour
    return value is not None and matches(condition.matching, value)
