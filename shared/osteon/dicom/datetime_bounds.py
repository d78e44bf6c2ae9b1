"""Dates, times and date-times of query keys as pairs of inclusive bounds (PS3.5 6.2, PS3.4 C.2.2.2.1 and C.2.2.2.5)."""

import calendar
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from osteon.errors import Invalid

Bounds = tuple[str | None, str | None]
"""Lower and upper bound, None is open; equal for one value of full precision."""

FIRST_TIME: Final = "000000.000000"
LAST_TIME: Final = "235959.999999"

_DATE: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})|([0-9]{4})\.([0-9]{2})\.([0-9]{2})", re.ASCII)
_TIME: Final = re.compile(r"([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?", re.ASCII)
_COLON_TIME: Final = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?", re.ASCII)
_DATETIME: Final = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})([0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?)?)?)?"
    r"([+-](?:0[0-9]|1[0-4])[0-5][0-9])?",
    re.ASCII,
)
_OFFSET: Final = re.compile(r"([+-])([0-9]{2})([0-5][0-9])", re.ASCII)


def date_bounds(text: str) -> Bounds:
    """Read a DA key: one date or a range."""
    low, dash, high = text.partition("-")
    if not dash:
        date = _date(text)
        return date, date
    return (_date(low.strip()) if low.strip() else None, _date(high.strip()) if high.strip() else None)


def time_bounds(text: str) -> Bounds:
    """Read a TM key: one time, which covers all of its last component, or a range."""
    low, dash, high = text.partition("-")
    if not dash:
        return _time(text)
    return (_time(low.strip())[0] if low.strip() else None, _time(high.strip())[1] if high.strip() else None)


def datetime_bounds(text: str) -> Bounds:
    """Read a DT key: one date-time or a range.

    A hyphen before the last four digits is an offset where it can be one; a range that is meant must then have a
    more precise upper bound.
    """
    if _DATETIME.fullmatch(text):
        return _datetime(text)
    for cut in (i for i, c in enumerate(text) if c == "-"):
        low, high = text[:cut].strip(), text[cut + 1 :].strip()
        if (not low or _DATETIME.fullmatch(low)) and (not high or _DATETIME.fullmatch(high)):
            return (_datetime(low)[0] if low else None, _datetime(high)[1] if high else None)
    raise Invalid(f"{text[:80]!r} is not a date-time: expected YYYYMMDDHHMMSS.FFFFFF&ZZXX or a range of two")


def parse_offset(text: str) -> timezone | None:
    """Read Timezone Offset From UTC (0008,0201), such as `+0100`; None when it is absent or not valid."""
    found = _OFFSET.fullmatch(text.strip())
    if found is None:
        return None
    span = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-span if found[1] == "-" else span) if span <= timedelta(hours=14) else None


def _date(text: str) -> str:
    found = _DATE.fullmatch(text)
    if found is None:
        raise Invalid(f"{text[:80]!r} is not a date: expected YYYYMMDD, or a range of two joined by '-'")
    year, month, day = (part for part in found.groups() if part)
    _check_day(int(year), int(month), int(day), text)
    return year + month + day


def _check_day(year: int, month: int, day: int, text: str) -> None:
    if not (year >= 1 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        raise Invalid(f"{text[:80]!r} is not a day of the calendar")


def _time(text: str) -> tuple[str, str]:
    plain = text.replace(":", "") if _COLON_TIME.fullmatch(text) else text
    found = _TIME.fullmatch(plain)
    if found is None:
        raise Invalid(f"{text[:80]!r} is not a time: expected HHMMSS.FFFFFF, or a range of two joined by '-'")
    hour, minute, second, fraction = found.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        raise Invalid(f"{text[:80]!r} is not a time of a day")
    low = f"{hour}{minute or '00'}{second or '00'}.{(fraction or '').ljust(6, '0')}"
    return low, f"{hour}{minute or '59'}{second or '59'}.{(fraction or '').ljust(6, '9')}"


def _datetime(text: str) -> tuple[str, str]:
    found = _DATETIME.fullmatch(text)
    assert found is not None
    year, month, day, time, offset = found.groups()
    last_month = month or "12"
    _check_day(int(year), int(last_month), int(day or 1), text)
    last_day = day or f"{calendar.monthrange(int(year), int(last_month))[1]:02}"
    first, last = _time(time) if time else (FIRST_TIME, LAST_TIME)
    low, high = f"{year}{month or '01'}{day or '01'}{first}", f"{year}{last_month}{last_day}{last}"
    zone = parse_offset(offset) if offset else None
    return (low, high) if zone is None else (shift_zone(low, zone, UTC), shift_zone(high, zone, UTC))


def shift_zone(moment: str, zone: timezone, to: timezone) -> str:
    """Convert `YYYYMMDDHHMMSS.FFFFFF` between offsets; stays within the years 1 to 9999."""
    # A leap second has no place in `datetime`; the second before it is the nearest moment.
    plain = f"{moment[:12]}59{moment[14:]}" if moment[12:14] == "60" else moment
    try:
        moved = datetime.strptime(plain, "%Y%m%d%H%M%S.%f").replace(tzinfo=zone).astimezone(to)
    except OverflowError:
        return plain
    return f"{moved.year:04}{moved:%m%d%H%M%S.%f}"
