"""`/tools/find` by attributes that the index does not hold: it reads the headers of what the other keys leave.

As in Orthanc, one instance speaks for its series, study or patient.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Final

from osteon.dicom.query import Search
from osteon.index.port import Match
from osteon_query.http.context import Door
from osteon_query.http.errors import BadParameter
from osteon_query.orthanc.expanding import pages, raw_headers_of
from osteon_query.packs.sidecars import parse_header
from osteon_query.search.header_keys import HeaderKey

CANDIDATES: Final = 10_000
"""Headers that one search reads at most."""
_PAGE: Final = 200


async def check_candidates(door: Door, search: Search, names: str) -> None:
    """Raise `BadParameter` when a search would have to read too many headers; `names` are the keys for which."""
    count = await door.index.count(search)
    if count > CANDIDATES:
        raise BadParameter(
            f"Query: {names}: not in the index, so the headers of {count} resources would have to be read, at most "
            f"{CANDIDATES} are; narrow the search by other attributes"
        )


async def pages_by_header(
    door: Door, search: Search, keys: Sequence[HeaderKey], *, total: int | None
) -> AsyncGenerator[Sequence[Match], None]:
    """Yield the matches of a search whose headers match too, from its offset on, at most `total` of them."""
    skip = search.offset
    async for candidates in pages(door.index, replace(search, offset=0), size=_PAGE, total=None):
        headers = await raw_headers_of(door, candidates)
        found = await asyncio.to_thread(_matching, candidates, headers, keys)
        kept = found[skip:] if total is None else found[skip : skip + total]
        skip = max(0, skip - len(found))
        total = None if total is None else total - len(kept)
        yield kept
        if total == 0:
            return


def _matching(candidates: Sequence[Match], headers: Sequence[bytes], keys: Sequence[HeaderKey]) -> list[Match]:
    found = []
    for match, raw in zip(candidates, headers, strict=True):
        header = parse_header(raw) if raw else {}
        if all(key.accepts(header) for key in keys):
            found.append(match)
    return found
