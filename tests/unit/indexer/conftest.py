from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.indexer.ports import IndexerPorts, indexer_room


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[IndexerPorts]:
    async with indexer_room(tmp_path) as room:
        yield room
