"""Comparing one column: the kinds of matching of PS3.4 C.2.2.2 for text, dates and times, numbers and UIDs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, false, literal, or_

from osteon.dicom.query import Empty, Matching, OneOf, Range, Single, Wildcard
from osteon.errors import Invalid
from osteon.index.dialect import Dialect
from osteon.index.ranges import between, starts_with
from osteon.index.values import clean, number, text_key


class BadSearch(Invalid):
    """The search needs an attribute or a comparison that the index does not have."""


Bounds = Callable[[str], tuple[str, str] | None]
"""What a date or time stands for: its first and last day or moment, None when it is invalid."""


@dataclass(frozen=True, slots=True)
class ColumnMatcher:
    """Makes conditions on columns; `key` is a column's folded or normalised form."""

    dialect: Dialect
    case_sensitive: bool = False

    def text(self, raw: ColumnElement[str], key: ColumnElement[str], matching: Matching) -> ColumnElement[bool]:
        """Compare by key; with case by the text too, so that the key's index is of use."""
        match matching:
            case Single(value):
                same = key == text_key(value)
                return and_(same, raw == clean(value)) if self.case_sensitive else same
            case OneOf(values):
                return or_(false(), *(self.text(raw, key, Single(value)) for value in values))
            case Wildcard(pattern):
                fits = self._fits(key, text_key(pattern))
                return and_(fits, self.dialect.wildcard(raw, clean(pattern))) if self.case_sensitive else fits
            case Range(low, high):
                return between(key, None if low is None else text_key(low), None if high is None else text_key(high))
            case Empty():
                return or_(raw.is_(None), raw == "")

    def several(self, raw: ColumnElement[str], key: ColumnElement[str], matching: Matching) -> ColumnElement[bool]:
        r"""One of several values, separated by backslashes, must match."""
        column = raw if self.case_sensitive else key
        form = clean if self.case_sensitive else text_key
        framed = literal("\\") + column + "\\"
        match matching:
            case Single(value):
                return self.dialect.contains(framed, f"\\{form(value)}\\")
            case OneOf(values):
                return or_(false(), *(self.several(raw, key, Single(value)) for value in values))
            case Wildcard(pattern):
                return self.dialect.wildcard(framed, f"*\\{form(pattern)}\\*")
            case _:
                return self.text(raw, key, matching)

    def _fits(self, column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
        if not set(pattern) & set("*?"):
            return column == pattern
        beginning = pattern[: min(pattern.find(c) for c in "*?" if c in pattern)]
        fits = self.dialect.wildcard(column, pattern)
        return and_(starts_with(column, beginning), fits) if beginning else fits

    def moment(
        self, raw: ColumnElement[str], key: ColumnElement[str], matching: Matching, bounds: Bounds
    ) -> ColumnElement[bool]:
        """Compare dates or times of any precision; an invalid value equals only the same text."""
        match matching:
            case Single(value):
                span = bounds(value)
                return between(key, *span) if span else raw == clean(value)
            case OneOf(values):
                return or_(false(), *(self.moment(raw, key, Single(value), bounds) for value in values))
            case Range(low, high):
                return between(key, _bound(low, bounds, 0), _bound(high, bounds, 1))
            case Wildcard(pattern):
                return self._fits(raw, clean(pattern))
            case Empty():
                return or_(raw.is_(None), raw == "")

    def number(self, column: ColumnElement[Any], matching: Matching) -> ColumnElement[bool]:
        """Compare integers; other text equals nothing."""
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

    def uid(self, column: ColumnElement[str], matching: Matching) -> ColumnElement[bool]:
        """Compare UIDs, which have neither case nor other ways to be written."""
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


def _bound(text: str | None, bounds: Bounds, end: int) -> str | None:
    if text is None:
        return None
    span = bounds(text)
    if span is None:
        raise BadSearch(f"{text[:64]!r} is not a date or time: expected YYYYMMDD or HHMMSS.FFFFFF")
    return span[end]


def _integer(text: str) -> int:
    value = number(text)
    if value is None:
        raise BadSearch(f"{text[:64]!r} is not an integer")
    return value
