"""Searches by attributes that the index does not hold: the headers of what the other keys leave are read.

One instance speaks for its series, study or patient, as in Orthanc.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Final

from osteon.archive.ports import ArchiveReader, InstanceLocator, ResourceSearch
from osteon.archive.resources import Match
from osteon.dicom.query import Search
from osteon.errors import Invalid, NotFound
from osteon_query.http.errors import Unreadable
from osteon_query.packs.sidecars import Sidecars, parse_header
from osteon_query.search.answers import locations_of
from osteon_query.search.header_keys import HeaderKeys
from osteon_query.search.paging import pages

CANDIDATES: Final = 10_000
"""Headers that one search reads at most."""
_PAGE: Final = 200


async def raw_headers(index: InstanceLocator, sidecars: Sidecars, matches: Sequence[Match]) -> list[bytes]:
    """Return the header of one instance of each match as JSON, empty where it was deleted since the search.

    Raises `Unreadable` when the store has lost one.
    """
    locations = await locations_of(index, matches)
    try:
        lines = iter(await sidecars.lines_of([location for location in locations if location is not None]))
    except NotFound as error:
        raise Unreadable(f"the index names a sidecar that can not be read: {error}") from None
    return [b"" if location is None else next(lines).header.json for location in locations]


async def check_candidates(index: ResourceSearch, search: Search, names: str, error: type[Invalid]) -> None:
    """Raise `error` when a search would have to read too many headers; `names` are the keys for which."""
    count = await index.count(search)
    if count > CANDIDATES:
        raise error(
            f"{names}: not in the index, so the headers of {count} resources would have to be read, at most "
            f"{CANDIDATES} are; narrow the search by other attributes"
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
