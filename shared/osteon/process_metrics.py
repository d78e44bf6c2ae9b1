"""What every process tells of itself, besides what `prometheus_client` does: its build, and how late its loop is."""

import asyncio
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from osteon import __version__, metrics
from osteon.background import background
from osteon.settings import ProcessSettings

_EVERY: Final = 0.5
"""Seconds between two looks at the event loop."""


def describe_process(service: str, settings: ProcessSettings) -> None:
    """Say what runs here, and bound the metrics of this process."""
    metrics.BUILD_INFO.labels(service, __version__, platform.python_version()).set(1)
    metrics.AETS.most = metrics.SENDERS.most = settings.metrics_max_aets


@asynccontextmanager
async def measure_loop_lag() -> AsyncIterator[None]:
    """Measure the lag of the event loop inside."""
    async with background(_watch()):
        yield


async def _watch() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY
        await asyncio.sleep(_EVERY)
        metrics.LOOP_LAG_SECONDS.observe(max(0.0, loop.time() - due))
