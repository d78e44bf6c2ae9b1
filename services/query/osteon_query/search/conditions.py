"""Matching keys of QIDO-RS and `/tools/find`, and which of them the index can match."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from osteon.dicom.attributes import LEVEL_OF, REQUEST_ATTRIBUTES, is_below
from osteon.dicom.identifier import MAX_KEYS, TooManyKeys
from osteon.dicom.matching import MAX_VALUES
from osteon.dicom.models import Level
from osteon.settings import HttpSettings

_REQUESTS: Final = "RequestAttributesSequence"
MAX_MATCHING_KEYS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLimits:
    """How much one search may ask for, whatever way it comes."""

    keys: int = MAX_KEYS
    """Matching and return keys together."""
    matching_keys: int = MAX_MATCHING_KEYS
    """Keys that have a value; each is a condition for the database."""
    values: int = MAX_VALUES
    """Values of one key: a list of UIDs."""

    @classmethod
    def from_settings(cls, settings: HttpSettings) -> "SearchLimits":
        """Return the limits that are set."""
        return cls(
            keys=settings.query_max_keys,
            matching_keys=settings.query_max_matching_keys,
            values=settings.query_max_values,
        )

    def check(self, *, keys: int = 0, matching_keys: int = 0) -> None:
        """Raise `TooManyKeys` when there are more than is allowed."""
        if keys > self.keys:
            raise TooManyKeys(f"more than {self.keys} keys (OSTEON_QUERY_MAX_KEYS)")
        if matching_keys > self.matching_keys:
            raise TooManyKeys(f"more than {self.matching_keys} keys with values (OSTEON_QUERY_MAX_MATCHING_KEYS)")


def is_matchable(level: Level, path: tuple[str, ...]) -> bool:
    """Whether the index can match a key in a search at `level`: it holds it, and not below that level."""
    if len(path) == 2:
        return path[0] == _REQUESTS and path[1] in REQUEST_ATTRIBUTES and not Level.SERIES.is_below(level)
    return len(path) == 1 and path[0] in LEVEL_OF and not is_below(path[0], level)


def format_paths(paths: Iterable[tuple[str, ...]]) -> str:
    """Name keys for a person."""
    return ", ".join(".".join(path) for path in paths)
