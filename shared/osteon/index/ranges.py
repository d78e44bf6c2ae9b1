"""Comparisons that a B-tree answers."""

from sqlalchemy import ColumnElement, and_, true

_LAST = "\U0010ffff"


def starts_with(column: ColumnElement[str], beginning: str) -> ColumnElement[bool]:
    """Return the condition that text begins so, ordered by code point: as a range, which every planner understands."""
    after = _successor(beginning)
    return and_(column >= beginning, column < after if after else true())


def between(column: ColumnElement[str], low: str | None, high: str | None) -> ColumnElement[bool]:
    """Return the condition low <= column <= high; None is open, but an absent value is in no range."""
    bounds = [column >= low] if low is not None else []
    bounds += [column <= high] if high is not None else []
    return and_(*bounds) if bounds else column.is_not(None)


def _successor(text: str) -> str:
    """Return the first text behind all that begin with `text`; empty when there is none."""
    head = text.rstrip(_LAST)
    if not head:
        return ""
    code = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if code == 0xD800 else code)
