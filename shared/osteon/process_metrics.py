"""Metrics of every process besides those of `prometheus_client`: its build, its caches, its event loop's lag."""

import asyncio
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from osteon import __version__, metrics
from osteon.background import background
from osteon.byte_caches import cache_sizes
from osteon.settings import ProcessSettings

_EVERY: Final = 0.1
"""Seconds between two measurements."""
_SIZES_EVERY: Final = 10.0
"""Seconds between two looks at the sizes of caches."""
_WINDOW: Final = 60.0
"""Seconds for which the longest delay is shown, and again at most."""


def describe_process(service: str, settings: ProcessSettings) -> None:
    """Set the build information, and limit the label values of this process."""
    metrics.BUILD_INFO.labels(service, __version__, platform.python_version()).set(1)
    metrics.AETS.most = metrics.SENDERS.most = settings.metrics_max_aets


@asynccontextmanager
async def measure_loop_lag() -> AsyncIterator[None]:
    """Measure the lag of the event loop inside, its longest delay of the last minute or two, and the caches' sizes."""
    async with background(_watch()), background(_show_caches()):
        yield


async def _show_caches() -> None:
    while True:
        for name, size in cache_sizes().items():
            metrics.CACHE_BYTES.labels(name).set(size)
        await asyncio.sleep(_SIZES_EVERY)


async def _watch() -> None:
    loop = asyncio.get_running_loop()
    longest, before, ends = 0.0, 0.0, loop.time() + _WINDOW
    while True:
        due = loop.time() + _EVERY
        await asyncio.sleep(_EVERY)
        now = loop.time()
        delay = max(0.0, now - due)
        metrics.LOOP_LAG_SECONDS.observe(delay)
        if now >= ends:
            longest, before, ends = 0.0, longest, now + _WINDOW
        longest = max(longest, delay)
        metrics.LOOP_LONGEST_DELAY_SECONDS.set(max(longest, before))
