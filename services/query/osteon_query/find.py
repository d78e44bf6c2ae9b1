"""Answers `FindRequested`, one page of a C-FIND (PS3.4 C.4.1.3)."""

from osteon.contracts.find import FindPage, FindRequested
from osteon.index.port import Index
from osteon_query.sidecars import Sidecars


async def handle_find(request: FindRequested, index: Index, sidecars: Sidecars, *, page: int) -> FindPage:
    """Return a page of at most `page` matches; what goes wrong is told by its status."""
    raise NotImplementedError
