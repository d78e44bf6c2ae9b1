"""A door for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon import logging
from support.imaging.in_process import InProcessImaging
from support.query.application import RunningQuery, door

logging.setup("query", level="WARNING", style="json")  # the console style draws each traceback, which takes seconds


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[RunningQuery]:
    """An empty archive."""
    async with door(tmp_path) as running:
        yield running


@pytest.fixture
async def pixels(archive: RunningQuery, tmp_path: Path) -> InProcessImaging:
    """What stands in for `imaging`."""
    serving = InProcessImaging(archive.objects, tmp_path)
    await serving.serve(archive.bus)
    return serving
