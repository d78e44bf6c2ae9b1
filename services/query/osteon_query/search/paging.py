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

    What comes in or changes meanwhile neither repeats nor hides others, see `row_pages`.
    """
    async for rows in row_pages(index, search, size=size, total=total):
        yield await index.at_rows(search.level, rows)


async def row_pages(
    index: ResourceSearch, search: Search, *, size: int, total: int | None
) -> AsyncGenerator[Sequence[int], None]:
    """Yield the rows of what `pages` yields.

    An unordered search goes on by a cursor; of an ordered one the places of 50,000 matches at a time are taken first.
    """
    step = _ROWS if search.order else size
    while total is None or total > 0:
        limit = step if total is None else min(step, total)
        with metrics.SEARCH_SECONDS.labels("rest").time():
            page = await index.rows(replace(search, limit=limit))
        for start in range(0, len(page.rows), size):
            yield page.rows[start : start + size]
        if len(page.rows) < limit if search.order else page.cursor is None:
            return
        total = None if total is None else total - limit
        if search.order:
            search = replace(search, offset=search.offset + limit)
        else:
            search = replace(search, offset=0, cursor=page.cursor)
