"""A door for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon import logging
from support.imaging.in_process import Pixels
from support.query.application import Running, door

logging.setup("query", level="WARNING", style="json")  # the console style draws each traceback, which takes seconds


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Running]:
    """An empty archive."""
    async with door(tmp_path) as running:
        yield running


@pytest.fixture
async def pixels(archive: Running, tmp_path: Path) -> Pixels:
    """What stands in for `imaging`."""
    serving = Pixels(archive.objects, tmp_path)
    await serving.serve(archive.bus)
    return serving
