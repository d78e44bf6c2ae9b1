"""Matches of a search, a page at a time."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Final

from osteon import metrics
from osteon.archive.ports import ResourceSearch
from osteon.archive.resources import Match
from osteon.dicom.query import Search

_ROWS: Final = 50_000
"""Rows of an ordered search that are kept, a few megabytes."""


async def pages(
    index: ResourceSearch, search: Search, *, size: int, total: int | None
) -> AsyncGenerator[Sequence[Match], None]:
    """Yield the matches of a search from its offset on, at most `total` of them, `size` at a time.

    What comes in or changes meanwhile neither repeats nor hides others: an unordered search goes on by a cursor, and of
    an ordered one the places of 50,000 matches at a time are taken first.
    """
    if search.order:
        async for matches in _ordered(index, search, size, total):
            yield matches
        return
    while total is None or total > 0:
        limit = size if total is None else min(size, total)
        with metrics.SEARCH_SECONDS.labels("rest").time():
            page = await index.search(replace(search, limit=limit))
        yield page.matches
        if page.cursor is None or not page.matches:
            return
        total = None if total is None else total - len(page.matches)
        search = replace(search, offset=0, cursor=page.cursor)


async def _ordered(
    index: ResourceSearch, search: Search, size: int, total: int | None
) -> AsyncGenerator[Sequence[Match], None]:
    left = total
    while left is None or left > 0:
        limit = _ROWS if left is None else min(_ROWS, left)
        with metrics.SEARCH_SECONDS.labels("rest").time():
            rows = await index.rows(replace(search, limit=limit))
        for start in range(0, len(rows), size):
            yield await index.at_rows(search.level, rows[start : start + size])
        if len(rows) < limit:
            return
        left = None if left is None else left - limit
        search = replace(search, offset=search.offset + limit)
