"""Attribute values (DICOM text) as the index stores and compares them."""

import re
import unicodedata
from typing import Final

from osteon.index.name_keys import MAX_KEY

MAX_TEXT: Final = 4096
"""Characters of a value that are kept; PS3.5 6.2 allows at most 10240, and 64 for what is searched."""

_DATE: Final = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_PART_OF_DATE: Final = re.compile(r"[0-9]{4}(?:[0-9]{2}(?:[0-9]{2})?)?")
_TIME: Final = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_NUMBER: Final = re.compile(r"([+-]?[0-9]{1,20})(?:\.0*)?")
_LATEST: Final = "235959.999999"
_INT64: Final = 1 << 63


def clean(text: str) -> str:
    """Return text that every database takes: no NUL, no lone surrogates, not endless."""
    return text[:MAX_TEXT].replace("\x00", "").encode("utf-8", "replace").decode().strip()


def text_key(text: str) -> str:
    """Return what text is compared by when case does not count."""
    return unicodedata.normalize("NFC", clean(text)).casefold()[:MAX_KEY]


def date_key(text: str) -> str | None:
    """Return `YYYYMMDD` of a DA value, of the old form `YYYY.MM.DD` too; None when it is not a date."""
    match = _DATE.fullmatch(text.strip())
    return "".join(match.groups()) if match else None


def date_bounds(text: str) -> tuple[str, str] | None:
    """Return the first and last `YYYYMMDD` that a date, or a month or year of a query, covers."""
    day = date_key(text)
    if day:
        return day, day
    part = text.strip()
    return (part.ljust(8, "0"), part.ljust(8, "9")) if _PART_OF_DATE.fullmatch(part) else None


def time_key(text: str) -> str | None:
    """Return `HHMMSS.FFFFFF` of a TM value of any precision (old form `HH:MM:SS` too); None when it is not a time."""
    bounds = time_bounds(text)
    return bounds[0] if bounds else None


def time_bounds(text: str) -> tuple[str, str] | None:
    """Return the first and last `HHMMSS.FFFFFF` that a time covers: `10` is the whole hour (PS3.5 6.2, TM)."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    hours, minutes, seconds, fraction = match.groups()
    given = hours + (minutes or "") + (seconds or "") + (f".{fraction}" if fraction else "")
    low = "".join((hours, minutes or "00", seconds or "00", ".", (fraction or "").ljust(6, "0")))
    return low, max(given + _LATEST[len(given) :], low)


def number(text: str) -> int | None:
    """Return the integer that IS or US text stands for (`007`, `+7`, `7.0`); None when it is not one of 64 bits."""
    match = _NUMBER.fullmatch(text.strip())
    value = int(match[1]) if match else _INT64
    return value if -_INT64 <= value < _INT64 else None
