"""Does a value match? For what is compared outside of the index: items of sequences, moments in another time zone."""

import re
from typing import Final

from osteon.byte_caches import cached
from osteon.dicom.query import Empty, Matching, OneOf, Range, Single, Wildcard

_SHORT: Final = 256
"""Characters of a pattern that is kept compiled."""


def matches(matching: Matching, text: str) -> bool:
    r"""Whether a value, as normalised as `parse_matching` makes keys, matches; with case.

    One of several values, joined by `\`, suffices (PS3.4 C.2.2.2).
    """
    if isinstance(matching, Empty):
        return not text
    return any(_holds(matching, value) for value in text.split("\\") if value)


def _holds(matching: Matching, value: str) -> bool:
    match matching:
        case Single(wanted):
            return value == wanted
        case OneOf(values):
            return value in values
        case Wildcard(pattern):
            return _regex(pattern).fullmatch(value) is not None
        case Range(low, high):
            return within(value, low, high)
        case Empty():
            return False


def within(value: str, low: str | None, high: str | None) -> bool:
    """Whether a value is in a range; None is open."""
    return (low is None or low <= value) and (high is None or value <= high)


@cached("wildcards", entries=64, entry_bytes=32_000, keeps=lambda pattern: len(pattern) <= _SHORT)
def _regex(pattern: str) -> re.Pattern[str]:
    # Lazy runs between literal pieces: each `*` stops at the next piece, so that many of them do not multiply.
    pieces = (re.escape(piece).replace(r"\?", ".") for piece in pattern.split("*"))
    head, *rest = pieces
    middle = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    return re.compile(head + middle + (f".*{rest[-1]}" if rest else ""), re.DOTALL)
