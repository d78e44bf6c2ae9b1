"""Saves a job now and then while its work goes on; the runner keeps its lease."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

T = TypeVar("T")

SAVE_SECONDS: Final = 1.0
"""How often a job is saved; what was done after that is done again when the worker dies."""


async def with_checkpoints(results: AsyncGenerator[T], save: Callable[[], Awaitable[object]]) -> AsyncGenerator[T]:
    """Yield results, and save behind them every `SAVE_SECONDS`; what `save` raises ends it."""
    saved = time.monotonic()
    async with aclosing(results):
        async for result in results:
            yield result
            if time.monotonic() - saved >= SAVE_SECONDS:
                await save()
                saved = time.monotonic()
