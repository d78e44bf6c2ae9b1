"""Patterns that take bounded time: they come from whoever writes rules, the values from any modality.

Python's `re` goes back over what it tried. A repetition of something that repeats, or that has alternatives, takes
exponential time; n repetitions one after the other take the n-th power. The first are refused, the second are few, and
the values that are looked at are short.
"""

import re
from typing import Final

MAX_PATTERN: Final = 512
MAX_VALUE: Final = 256
"""Characters of a value that a regular expression looks at."""
_MAX_REPETITIONS: Final = 3
_UNBOUNDED: Final = re.compile(r"[*+]|\{(\d*)(,?)(\d*)\}")
_FEW: Final = 16
"""Times at most that `{n,m}` repeats and still does not count."""


class BadPattern(ValueError):
    """The message tells what is wrong with a pattern."""


def compile_regex(text: str) -> re.Pattern[str]:
    """Compile a regular expression; raises `BadPattern` for one that is none, or might take too long."""
    if len(text) > MAX_PATTERN:
        raise BadPattern(f"the pattern has more than {MAX_PATTERN} characters")
    try:
        compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(f"{text[:80]!r} is no regular expression: {error}") from None
    _check_effort(text)
    return compiled


def compile_wildcard(text: str) -> re.Pattern[str]:
    """Compile a pattern of `*` and `?` (PS3.4 C.2.2.2.4); raises `BadPattern`.

    What stands between two `*` is taken where it comes first, for good (an atomic group), so that the time is linear.
    """
    if len(text) > MAX_PATTERN:
        raise BadPattern(f"the pattern has more than {MAX_PATTERN} characters")
    first, *rest = (re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", text))
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


def _check_effort(text: str) -> None:
    repetitions = 0
    groups: list[bool] = []
    """Whether what is in each open group can be tried in several ways."""
    closed: bool | None = None
    """The same of the group that has just ended."""
    for piece in _pieces(text):
        if piece == "(":
            groups.append(False)
        elif piece == ")":
            closed = groups.pop()
            if groups and closed:
                groups[-1] = True
            continue
        elif piece == "|" and groups:
            groups[-1] = True
        elif _repeats(piece):
            repetitions += 1
            if closed:
                raise BadPattern("a repetition of a group with repetitions or alternatives in it may take for ever")
            if groups:
                groups[-1] = True
        closed = None
    if repetitions > _MAX_REPETITIONS:
        raise BadPattern(f"more than {_MAX_REPETITIONS} repetitions (*, +, {{n,}}) may take for ever")


def _pieces(text: str) -> list[str]:
    """Split a valid expression; escapes and sets are one piece each."""
    return re.findall(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?#[^)]*\)|\{\d*,?\d*\}|.", text, re.DOTALL)


def _repeats(piece: str) -> bool:
    found = _UNBOUNDED.fullmatch(piece)
    if not found or piece == "{}":
        return False
    least, comma, most = found.groups()
    if piece in "*+" or (comma and not most):
        return True
    return int(most or least) > _FEW
