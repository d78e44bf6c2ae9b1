"""The index on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon.index.sql import SqlIndex
from support.index.stored_packs import sqlite_url

STORES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an index may be that nothing else uses."""
    if request.param == "postgres":
        return str(request.getfixturevalue("index_url"))
    return sqlite_url(tmp_path / "index.db")


@pytest.fixture
async def index(url: str) -> AsyncIterator[SqlIndex]:
    """An index without content."""
    opened = SqlIndex(url, pool=4)
    await opened.start()
    yield opened
    await opened.close()
