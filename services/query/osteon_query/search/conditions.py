"""Matching keys of QIDO-RS and `/tools/find`, and which of them the index can match."""

from collections.abc import Iterable
from typing import Final

from osteon.dicom.attributes import LEVEL_OF, REQUEST_ATTRIBUTES, is_below
from osteon.dicom.models import Level

_REQUESTS: Final = "RequestAttributesSequence"


def is_matchable(level: Level, path: tuple[str, ...]) -> bool:
    """Whether the index can match a key in a search at `level`: it holds it, and not below that level."""
    if len(path) == 2:
        return path[0] == _REQUESTS and path[1] in REQUEST_ATTRIBUTES and not Level.SERIES.is_below(level)
    return len(path) == 1 and path[0] in LEVEL_OF and not is_below(path[0], level)


def format_paths(paths: Iterable[tuple[str, ...]]) -> str:
    """Name keys for a person."""
    return ", ".join(".".join(path) for path in paths)
