"""Patterns of rules: any modality sends the values that they are tried on, so RE2 matches them, in linear time."""

import re
from typing import Final, Protocol

import re2

MAX_PATTERN: Final = 512
_WILDCARDS: Final = {"*": ".*", "?": "."}


class BadPattern(ValueError):
    """The message says what is wrong with a pattern."""


class CompiledPattern(Protocol):
    """What RE2 makes of a pattern."""

    def fullmatch(self, text: str) -> object | None:
        """Return a match when the pattern fits the text, whole."""


def compile_regex(text: str) -> CompiledPattern:
    """Compile a regular expression in RE2's syntax (no look-around, no back-references); raises `BadPattern`."""
    _check_length(text)
    return _compile(text, text)


def compile_wildcard(text: str) -> CompiledPattern:
    """Compile a pattern of `*` and `?` (PS3.4 C.2.2.2.4); raises `BadPattern`."""
    _check_length(text)
    parts = re.split(r"([*?])", text)
    return _compile("(?s)" + "".join(_WILDCARDS.get(part) or re2.escape(part) for part in parts), text)


def _check_length(text: str) -> None:
    if len(text) > MAX_PATTERN:
        raise BadPattern(f"the pattern has more than {MAX_PATTERN} characters")


def _compile(expression: str, text: str) -> CompiledPattern:
    options = re2.Options()
    options.log_errors = False
    try:
        compiled: CompiledPattern = re2.compile(expression, options)
    except UnicodeError:
        raise BadPattern(f"{text[:80]!r} is not text") from None
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        raise BadPattern(f"{text[:80]!r} is not a regular expression: {reason}") from None
    return compiled
