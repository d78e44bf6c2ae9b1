"""The query string of QIDO-RS → a search and what its answers hold (PS3.18 10.6.1.2, 8.3.4).

Keys on a date and on its time are one range of moments, always: QIDO-RS has no negotiation, and PS3.18 10.6 wants
combined matching. A range of times that crosses midnight is refused where no date makes sense of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from osteon.dicom.keys import attribute_path, tag_of, vr_of_tag
from osteon.dicom.matching import combine_datetimes, condition
from osteon.dicom.query import Condition, Level, Search, Single
from osteon_query.http.errors import BadParameter
from osteon_query.search.conditions import is_matchable, spelled
from osteon_query.search.wanted import Wanted, default_wanted

DEFAULT_LIMIT: Final = 1_000
"""Results when no limit is given, unless the setting allows fewer."""
_MAX_NUMBER: Final = 1 << 31
_MAX_PARAMETERS: Final = 1_000
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class QidoQuery:
    """A parsed query. `ignored` has the keys that the index can not match."""

    search: Search
    wanted: Wanted
    ignored: tuple[tuple[str, ...], ...] = ()

    @property
    def limit(self) -> int:
        """How many results to send; the search asks for one more, to see whether there are more."""
        return self.search.limit - 1


def parse(
    level: Level,
    parameters: Iterable[tuple[str, str]],
    *,
    most: int,
    study: str | None = None,
    series: str | None = None,
) -> QidoQuery:
    """Turn parameters and the UIDs of the path into a query; raises `Invalid` naming the parameter.

    `most` is the largest number of results that is ever sent.
    """
    query = _Parser(level, most)
    for name, uid in (("StudyInstanceUID", study), ("SeriesInstanceUID", series)):
        if uid is not None:
            query.conditions.append(Condition((name,), Single(uid)))
    for count, (name, value) in enumerate(parameters):
        if count >= _MAX_PARAMETERS:
            raise BadParameter(f"more than {_MAX_PARAMETERS} parameters are given")
        query.take(name, value)
    wanted = default_wanted(
        level,
        study_given=study is not None,
        series_given=series is not None,
        include=query.include,
        everything=query.everything,
    )
    search = Search(
        level=level,
        conditions=combine_datetimes(query.conditions),
        fuzzy=query.fuzzy,
        case_sensitive=True,
        limit=query.limit + 1,
        offset=query.offset,
    )
    return QidoQuery(search, wanted, tuple(query.ignored))


class _Parser:
    def __init__(self, level: Level, most: int) -> None:
        self._level = level
        self._most = most
        self.conditions: list[Condition] = []
        self.ignored: list[tuple[str, ...]] = []
        self.include: list[str] = []
        self.everything = False
        self.fuzzy = False
        self.limit = min(DEFAULT_LIMIT, most)
        self.offset = 0

    def take(self, name: str, value: str) -> None:
        match name.lower():
            case "limit":
                self.limit = min(number(name, value), self._most)
            case "offset":
                self.offset = number(name, value)
            case "fuzzymatching":
                self.fuzzy = _boolean(name, value)
            case "includefield":
                self._include(value)
            case "accept" | "charset":
                pass
            case _:
                self._match(name, value)

    def _include(self, value: str) -> None:
        for field in (part.strip() for part in value.split(",")):
            if field.lower() == "all":
                self.everything = True
            elif field:
                attribute_path(field)
                self.include.append(field)

    def _match(self, name: str, value: str) -> None:
        path = attribute_path(name)
        if vr_of_tag(tag_of(path[-1])) == "CS":
            # No code string has a comma; viewers list modalities with it.
            value = value.replace(",", "\\")
        parsed = condition(path, value)
        matchable = is_matchable(self._level, path)
        if len(path) == 1 or not matchable:
            # Answers hold what is matched, by universal matching or not at all too (10.6.3.3); the sequence whose items
            # can be matched is in them anyway.
            self.include.append(name)
        if not matchable:
            self.ignored.append(path)
        elif parsed is not None:
            self.conditions.append(parsed)


def number(name: str, value: str) -> int:
    """Return a parameter that is a whole number of zero or more; raises `BadParameter`."""
    if not value.isascii() or not value.isdecimal() or int(value[:20]) >= _MAX_NUMBER:
        raise BadParameter(f"{name}={value[:80]!r}: expected a whole number from 0 to {_MAX_NUMBER - 1}")
    return int(value)


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise BadParameter(f"{name}={value[:80]!r}: expected true or false")
    return _BOOLEANS[value.lower()]


def warnings(query: QidoQuery, service: str, *, more: bool) -> list[str]:
    """Return the values of the Warning header (PS3.18 8.3.4.4, 10.6.3)."""
    texts = []
    if more:
        texts.append("There are additional results that can be requested")
    if query.ignored:
        texts.append(f"These keys are not matched and were ignored: {spelled(query.ignored)[:1000]}")
    return [f'299 {service} "{text}"' for text in texts]
