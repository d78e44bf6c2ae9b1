"""The query string of QIDO-RS → a search and what its results contain (PS3.18 8.3.4, 10.6.1.2).

Keys on a date and on its time are one range of moments, always: QIDO-RS has no negotiation, and PS3.18 10.6 wants
combined matching. A range of times that crosses midnight is refused where no date makes sense of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from osteon.dicom.attribute_names import UnknownAttribute, attribute_path, tag_of
from osteon.dicom.matching import combine_datetimes
from osteon.dicom.models import Level
from osteon.dicom.private_blocks import is_creator, is_private
from osteon.dicom.query import MatchingKey, Search, Single
from osteon_query.dicomweb.qido_keys import conditions_of, is_comparable
from osteon_query.http.errors import BadParameter
from osteon_query.http.request_values import format_warning, ignored_parameters, number
from osteon_query.search.conditions import SearchLimits, format_paths, is_matchable
from osteon_query.search.return_keys import ReturnKeys, belongs, default_return_keys

DEFAULT_LIMIT: Final = 1_000
"""Results when no limit is given, unless the setting allows fewer."""
_LIMITS: Final = SearchLimits()
_BOOLEANS: Final = {"true": True, "false": False}
_NOT_FOR_SEARCHES: Final = frozenset({"accept", "charset"})


@dataclass(frozen=True, slots=True)
class QidoQuery:
    """A parsed query.

    Attributes:
        by_header: keys that the index does not hold and headers do.
        ignored: keys that are not matched at all.
        unknown: parameters and attributes that are not known: ignored too (PS3.18 8.3).
    """

    search: Search
    return_keys: ReturnKeys
    by_header: tuple[MatchingKey, ...] = ()
    ignored: tuple[tuple[str, ...], ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def limit(self) -> int:
        """How many results to send; the search requests one more, to see whether there are more."""
        return self.search.limit - 1


def parse(
    level: Level,
    parameters: Iterable[tuple[str, str]],
    *,
    max_results: int,
    limits: SearchLimits = _LIMITS,
    study: str | None = None,
    series: str | None = None,
) -> QidoQuery:
    """Turn parameters and the UIDs of the path into a query; raises `Invalid` naming the parameter.

    `max_results` is the largest number of results that is ever sent.
    """
    query = _Parser(level, max_results, limits)
    for name, uid in (("StudyInstanceUID", study), ("SeriesInstanceUID", series)):
        if uid is not None:
            query.conditions.append(MatchingKey((name,), Single(uid)))
    for name, value in parameters:
        query.add(name, value)
    query.add_conditions()
    return_keys = default_return_keys(
        level,
        study_given=study is not None,
        series_given=series is not None,
        include=query.include,
        everything=query.everything,
        creators=query.creators,
    )
    search = Search(
        level=level,
        conditions=combine_datetimes(query.conditions),
        fuzzy=query.fuzzy,
        case_sensitive=True,
        one_per_uid=True,
        limit=query.limit + 1,
        offset=query.offset,
    )
    # Those are not combined, so a range of times across midnight would never match: this refuses it.
    combine_datetimes(query.by_header, negotiated=False)
    return QidoQuery(search, return_keys, tuple(query.by_header), tuple(query.ignored), tuple(query.unknown))


class _Parser:
    def __init__(self, level: Level, max_results: int, limits: SearchLimits) -> None:
        self._limits = limits
        self._given = 0
        self._level = level
        self._most = max_results
        self._keys: list[tuple[str, str]] = []
        self.conditions: list[MatchingKey] = []
        self.by_header: list[MatchingKey] = []
        self.ignored: list[tuple[str, ...]] = []
        self.unknown: list[str] = []
        self.include: list[str] = []
        self.creators: dict[str, str] = {}
        self.everything = self.fuzzy = self._empty = self._multiple = False
        self.limit = min(DEFAULT_LIMIT, max_results)
        self.offset = 0

    def add(self, name: str, value: str) -> None:
        """Take one parameter; keys wait until all parameters are known that say how to match them."""
        self._count(1)
        match name.lower():
            case "limit":
                self.limit = min(number(name, value), self._most)
            case "offset":
                self.offset = number(name, value)
            case "fuzzymatching":
                self.fuzzy = _boolean(name, value)
            case "emptyvaluematching":
                self._empty = _boolean(name, value)
            case "multiplevaluematching":
                self._multiple = _boolean(name, value)
            case "includefield":
                self._include(value)
            case other if other not in _NOT_FOR_SEARCHES:
                self._keys.append((name, value))

    def add_conditions(self) -> None:
        """Turn the keys into conditions."""
        for name, value in self._keys:
            self._add_condition(name, value)
        self._limits.check(matching_keys=len(self.conditions) + len(self.by_header))

    def _count(self, keys: int) -> None:
        self._given += keys
        self._limits.check(keys=self._given)

    def _include(self, value: str) -> None:
        self._count(value.count(","))
        for field in (part.strip() for part in value.split(",")):
            if field.lower() == "all":
                self.everything = True
            elif (path := self._path(field)) and belongs(self._level, tag_of(path[0])):
                self.include.append(field)

    def _path(self, name: str) -> tuple[str, ...]:
        """Return the path of an attribute, empty when there is no such attribute."""
        try:
            return attribute_path(name) if name else ()
        except UnknownAttribute:
            self.unknown.append(name)
            return ()

    def _add_condition(self, name: str, value: str) -> None:
        if not (path := self._path(name)):
            return
        tag = tag_of(path[0])
        if is_creator(tag):
            # Defines what a private `includefield` means (PS3.18 8.3.4.3).
            self.creators[tag[:4] + tag[6:]] = value
            return
        if is_private(tag):
            self.ignored.append(path)
            return
        made = conditions_of(path, value, empty=self._empty, multiple=self._multiple, max_values=self._limits.values)
        matchable = is_matchable(self._level, path)
        if belongs(self._level, tag):
            # Results contain what is matched, by universal matching or not at all too (10.6.3.3).
            self.include += [] if matchable and len(path) > 1 else [name]
        if matchable:
            self.conditions += made
        elif is_comparable(self._level, path):
            self.by_header += made
        else:
            self.ignored.append(path)


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
        texts.append(f"These keys are not matched and were ignored: {format_paths(query.ignored)}")
    if query.unknown:
        texts.append(ignored_parameters(query.unknown))
    return [format_warning(service, text) for text in texts]
