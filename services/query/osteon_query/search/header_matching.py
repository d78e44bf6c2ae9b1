"""Searches by attributes that the index does not hold: headers are read and compared (PS3.4 C.2.2.2).

The other keys narrow the search first. One instance represents its series, study or patient, as in Orthanc.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from osteon.archive.ports import ArchiveReader, InstanceLocator, ResourceSearch
from osteon.archive.resources import Match
from osteon.dicom.attribute_names import tag_of, vr_of_tag
from osteon.dicom.attributes import element_text
from osteon.dicom.datetime_bounds import datetime_bounds
from osteon.dicom.query import Matching, MatchingKey, OneOf, Search, Single, Wildcard
from osteon.dicom.value_matching import matches
from osteon.errors import Invalid
from osteon.index.values import date_key, text_key, time_key
from osteon_query.packs.sidecars import Sidecars, parse_header, read_lines
from osteon_query.search.paging import pages
from osteon_query.search.results import locations_of

_PAGE: Final = 200
Header = Mapping[str, Any]
Normal = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Key:
    """One key: the tags of its path, and how its values are compared."""

    tags: tuple[str, ...]
    matching: Matching
    normal: Normal

    def holds(self, element: Mapping[str, Any]) -> bool:
        text = "\\".join(self.normal(value) for value in element_text(element).split("\\"))
        return matches(self.matching, text)

    def inner(self) -> "_Key":
        return replace(self, tags=self.tags[1:])


class HeaderKeys:
    """Keys that must all match. Text compares without case unless `case_sensitive`; names always do."""

    def __init__(self, conditions: Iterable[MatchingKey], *, case_sensitive: bool) -> None:
        """Convert values once to the form in which they are compared."""
        self._keys: list[_Key] = []
        for condition in conditions:
            tags = tuple(tag_of(name) for name in condition.path)
            vr = vr_of_tag(tags[-1])
            folds = vr == "PN" or not case_sensitive
            normal = _NORMAL.get(vr, text_key if folds else str.strip)
            self._keys.append(_Key(tags, _mapped(condition.matching, normal), normal))

    def accepts(self, header: Header) -> bool:
        """Whether a header matches; one item of a sequence must match all keys in it (PS3.4 C.2.2.2.6)."""
        return _accept(self._keys, header)


def _accept(keys: Sequence[_Key], header: Header) -> bool:
    within: dict[str, list[_Key]] = {}
    for key in keys:
        if len(key.tags) > 1:
            within.setdefault(key.tags[0], []).append(key.inner())
        elif not key.holds(header.get(key.tags[0], {})):
            return False
    return all(any(_accept(inner, item) for item in _items(header, tag)) for tag, inner in within.items())


def _items(header: Header, tag: str) -> list[Header]:
    """Return the items of a sequence; an absent one is as an empty item: keys for empty values match."""
    items = header.get(tag, {}).get("Value") or [{}]
    return [item for item in items if isinstance(item, Mapping)]


def _mapped(matching: Matching, normal: Normal) -> Matching:
    match matching:
        case Single(value):
            return Single(normal(value))
        case OneOf(values):
            return OneOf(tuple(map(normal, values)))
        case Wildcard(pattern):
            return Wildcard(normal(pattern))
        case _:
            return matching


def _moment(text: str) -> str:
    try:
        return datetime_bounds(text)[0] or text
    except Invalid:
        return text


def _decimal(text: str) -> str:
    try:
        return str(float(text))
    except ValueError:
        return text


# Keys of dates and times come normalised already, and stay as they are.
_NORMAL: Final[dict[str, Normal]] = {
    "DA": lambda text: date_key(text) or text, "TM": lambda text: time_key(text) or text,
    "DT": _moment, "DS": _decimal, "FL": _decimal, "FD": _decimal,
    "UI": str.strip,
}  # fmt: skip


async def raw_headers(index: InstanceLocator, sidecars: Sidecars, matches: Sequence[Match]) -> list[bytes]:
    """Return the header of one instance of each match as JSON, empty where it was deleted since the search.

    Raises `StoredDataUnreadable` when the store has lost one.
    """
    locations = await locations_of(index, matches)
    lines = iter(await read_lines(sidecars, [location for location in locations if location is not None]))
    return [b"" if location is None else next(lines).header.json for location in locations]


async def check_candidates(index: ResourceSearch, search: Search, names: str, limit: int, error: type[Invalid]) -> None:
    """Raise `error` when a search would have to read more than `limit` headers; `names` are the keys for which."""
    if await index.count(search, at_most=limit + 1) > limit:
        raise error(
            f"{names}: not in the index, so more than {limit} headers would have to be read;"
            " narrow the search by other attributes"
        )


async def pages_by_header(
    index: ArchiveReader, sidecars: Sidecars, search: Search, keys: HeaderKeys, *, total: int | None
) -> AsyncGenerator[Sequence[Match], None]:
    """Yield the matches of a search whose headers match too, from its offset on, at most `total` of them."""
    skip = search.offset
    async for candidates in pages(index, replace(search, offset=0), size=_PAGE, total=None):
        headers = await raw_headers(index, sidecars, candidates)
        found = await asyncio.to_thread(_matching, candidates, headers, keys)
        kept = found[skip:] if total is None else found[skip : skip + total]
        skip = max(0, skip - len(found))
        total = None if total is None else total - len(kept)
        yield kept
        if total == 0:
            return


def _matching(candidates: Sequence[Match], headers: Sequence[bytes], keys: HeaderKeys) -> list[Match]:
    found = []
    for match, raw in zip(candidates, headers, strict=True):
        header = parse_header(raw) if raw else {}
        if keys.accepts(header):
            found.append(match)
    return found
