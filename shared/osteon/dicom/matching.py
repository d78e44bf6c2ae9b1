r"""Key attribute values → kinds of matching (PS3.4 C.2.2.2).

The VR decides: `*` and `?` are wild cards in text only, `-` makes a range of dates and times only, `\` separates values
in all VRs that can have several. Values come out normalised, so that the index can compare them as text:

* DA: `YYYYMMDD` (the retired `YYYY.MM.DD` is understood)
* TM: `HHMMSS.FFFFFF`; a value with fewer components is the range that it covers, so `10` is ten o'clock to just before
  eleven, and the upper bound of a range includes all of its last component; a range that crosses midnight comes out
  as it is, for `combine_datetimes` to judge
* DT: `YYYYMMDDHHMMSS.FFFFFF`, likewise; with an offset from UTC it is given in UTC
* IS: no sign and no zeros in front; numbers have single values only, as `-` is their sign
* UI: a list is separated by `\` or `,`
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from osteon.dicom import datetime_bounds
from osteon.dicom.attribute_names import describe, tag_of, vr_of_tag
from osteon.dicom.query import DateTimeRange, Empty, Matching, MatchingKey, OneOf, Range, Single, Wildcard
from osteon.dicom.uids import is_uid
from osteon.errors import Invalid

WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""PS3.4 C.2.2.2.4."""
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})
r"""A backslash is text here (PS3.5 6.2)."""
_NOT_TEXT: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_EMPTY: Final = '""'
MAX_LENGTH: Final = 65_536
MAX_VALUES: Final = 1_000

# Data sets with a stray dot in a UID exist and must be found, so the dots' places are not checked.
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_AGE: Final = re.compile(r"[0-9]{3}[DWMY]", re.ASCII)


class BadValue(Invalid):
    """A key's value cannot be matched; the message names the key and what was expected."""


def parse_matching(keyword: str, text: str, *, vr: str = "") -> Matching | None:
    """Return how a key with the value `text` is matched, None for universal matching (PS3.4 C.2.2.2.3).

    `vr` is needed for attributes only that the dictionary does not know. Raises `BadValue`.
    """
    return parse_key((keyword,), text, vr=vr)


def parse_key(
    path: tuple[str, ...], text: str, *, vr: str = "", empty: bool = True, max_values: int = MAX_VALUES
) -> Matching | None:
    """Do as `parse_matching` for an attribute in sequences, `path` being as in `MatchingKey`.

    `empty` says whether two quotation marks ask for an empty value (PS3.4 C.2.2.2.7) or are text; `max_values` is how
    many values a list may have.
    """
    vr = vr or vr_of_tag(tag_of(path[-1]))
    try:
        return _parse(vr, text, empty=empty, max_values=max_values)
    except Invalid as error:
        raise BadValue(f"{describe(path)}: {error}") from None


def condition(
    path: tuple[str, ...], text: str, *, vr: str = "", empty: bool = True, max_values: int = MAX_VALUES
) -> MatchingKey | None:
    """Return the condition that a key makes, None for universal matching; `empty`, `max_values` as in `parse_key`."""
    matching = parse_key(path, text, vr=vr, empty=empty, max_values=max_values)
    return None if matching is None else MatchingKey(path, matching)


def combine_datetimes(
    conditions: Iterable[MatchingKey | DateTimeRange], *, negotiated: bool = True
) -> tuple[MatchingKey | DateTimeRange, ...]:
    """Replace each pair of conditions on a date and on its time by one, when `negotiated` (PS3.4 C.2.2.2.5.4).

    Only such a pair can have a range of times that crosses midnight; raises `BadValue` for any other.
    """
    given = _combine(tuple(conditions)) if negotiated else tuple(conditions)
    for made in given:
        if isinstance(made, MatchingKey) and isinstance(made.matching, Range) and _is_reversed(made.matching):
            raise BadValue(f"{describe(made.path)}: a range of times that crosses midnight needs combined matching")
    return given


def _is_reversed(made: Range) -> bool:
    return made.low is not None and made.high is not None and made.low > made.high


def _combine(given: tuple[MatchingKey | DateTimeRange, ...]) -> tuple[MatchingKey | DateTimeRange, ...]:
    plain = {c.path: c for c in given if isinstance(c, MatchingKey) and len(c.path) == 1}
    result: list[MatchingKey | DateTimeRange] = []
    taken: set[tuple[str, ...]] = set()
    for path, date in plain.items():
        time = plain.get((path[0].removesuffix("Date") + "Time",)) if path[0].endswith("Date") else None
        if time is not None and (both := _combined(date, time)) is not None:
            taken |= {path, time.path}
            result.append(both)
    return (*result, *(c for c in given if not (isinstance(c, MatchingKey) and c.path in taken)))


def _combined(date: MatchingKey, time: MatchingKey) -> DateTimeRange | None:
    days, hours = _bounds(date.matching), _bounds(time.matching)
    if days is None or hours is None:
        return None
    low = None if days[0] is None else days[0] + (hours[0] or datetime_bounds.FIRST_TIME)
    high = None if days[1] is None else days[1] + (hours[1] or datetime_bounds.LAST_TIME)
    if low is not None and high is not None and low > high:
        raise BadValue(f"{describe(date.path)} and {describe(time.path)}: the range ends before it begins")
    return DateTimeRange(date.path[0], time.path[0], low, high)


def _bounds(matching: Matching) -> tuple[str | None, str | None] | None:
    match matching:
        case Range():
            return matching.low, matching.high
        case Single():
            return matching.value, matching.value
        case _:
            return None


def _parse(vr: str, text: str, *, empty: bool, max_values: int) -> Matching | None:
    if len(text) > MAX_LENGTH:
        raise Invalid(f"a value of {len(text)} characters is too long to be matched")
    # Leading blanks are insignificant in all but the four long text VRs (PS3.5 6.2); NUL pads UIDs.
    value = text.rstrip(" \0")
    if vr not in _ONE_VALUE:
        value = value.lstrip(" ")
    if not value.strip("*"):
        return None
    if vr == "SQ":
        raise Invalid("a sequence is matched by the keys in its item, not by a value")
    if empty and value == _EMPTY:
        return Empty()
    if vr in _NOT_TEXT:
        raise Invalid(f"values of VR {vr} cannot be matched")
    if "\0" in value:
        raise Invalid("a value holds a NUL character")
    values = _split(vr, value, max_values)
    parsed = [_parse_one(vr, v) for v in values]
    return parsed[0] if len(parsed) == 1 else _one_of(parsed)


def _split(vr: str, value: str, most: int) -> list[str]:
    if vr in _ONE_VALUE:
        return [value]
    if vr == "UI":
        value = value.replace(",", "\\")
    values = [v for v in (part.strip(" \0") for part in value.split("\\")) if v]
    if len(values) > most:
        raise Invalid(f"{len(values)} values are given, at most {most} can be matched (OSTEON_QUERY_MAX_VALUES)")
    return values or [""]


def _one_of(parsed: list[Matching | None]) -> Matching | None:
    singles = [m.value for m in parsed if isinstance(m, Single)]
    if any(m is None for m in parsed):
        return None
    if len(singles) != len(parsed):
        raise Invalid("in a list of values each must be a single value, without wild cards and ranges")
    unique = tuple(dict.fromkeys(singles))
    return OneOf(unique) if len(unique) > 1 else Single(unique[0])


def _parse_one(vr: str, value: str) -> Matching | None:
    if not value.strip("*"):
        return None
    if vr in _TEMPORAL:
        return _temporal(vr, value)
    if vr in WILDCARD_VRS:
        return Wildcard(re.sub(r"\*{2,}", "*", value)) if "*" in value or "?" in value else Single(value)
    return Single(_check(vr, value))


def _temporal(vr: str, value: str) -> Matching | None:
    low, high = _TEMPORAL[vr](value)
    if low is None and high is None:
        return None
    if low is not None and low == high:
        return Single(low)
    made = Range(low, high)
    if vr != "TM" and _is_reversed(made):
        raise Invalid(f"the range {value[:80]!r} ends before it begins")
    return made


_TEMPORAL: Final[dict[str, Callable[[str], datetime_bounds.Bounds]]] = {
    "DA": datetime_bounds.date_bounds,
    "TM": datetime_bounds.time_bounds,
    "DT": datetime_bounds.datetime_bounds,
}


def _check(vr: str, value: str) -> str:
    match vr:
        case "UI":
            if not is_uid(value):
                raise Invalid(f"{value[:80]!r} is not a UID: expected digits and dots, at most 64, without wild cards")
            return value
        case "IS" | "US" | "SS" | "UL" | "SL" | "UV" | "SV":
            if not _INTEGER.fullmatch(value):
                raise Invalid(f"{value[:80]!r} is not a whole number")
            return str(int(value))
        case "DS" | "FL" | "FD":
            if not _DECIMAL.fullmatch(value):
                raise Invalid(f"{value[:80]!r} is not a decimal number")
            return value
        case "AS":
            if not _AGE.fullmatch(value):
                raise Invalid(f"{value[:80]!r} is not an age: expected three digits and D, W, M or Y")
            return value
        case "AT":
            return tag_of(value)
        case _:
            raise Invalid(f"values of VR {vr[:8]!r} cannot be matched")
