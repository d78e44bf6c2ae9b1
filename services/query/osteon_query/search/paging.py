"""Matches of a search, a page at a time."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from osteon import metrics
from osteon.archive.ports import ResourceSearch
from osteon.archive.resources import Match
from osteon.dicom.query import Search


async def pages(
    index: ResourceSearch, search: Search, *, size: int, total: int | None
) -> AsyncGenerator[Sequence[Match], None]:
    """Yield the matches of a search from its offset on, at most `total` of them, `size` at a time."""
    while total is None or total > 0:
        limit = size if total is None else min(size, total)
        with metrics.SEARCH_SECONDS.labels("rest").time():
            page = await index.search(replace(search, limit=limit))
        yield page.matches
        ended = len(page.matches) < limit if search.order else page.cursor is None
        if ended or not page.matches:
            return
        total = None if total is None else total - len(page.matches)
        if search.order:
            search = replace(search, offset=search.offset + len(page.matches))
        else:
            search = replace(search, offset=0, cursor=page.cursor)
