"""Keeps a job while its work takes long: what waits for others must still say now and then that it lives."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

T = TypeVar("T")

SAVE_SECONDS: Final = 1.0
"""How often a job is saved; what was done after that is done again when the worker dies."""


async def keeping(results: AsyncGenerator[T], save: Callable[[], Awaitable[object]]) -> AsyncGenerator[T]:
    """Yield results, and save every `SAVE_SECONDS`, also while none comes; what `save` raises ends it."""
    saved = time.monotonic()
    async with aclosing(results):
        while True:
            step = asyncio.ensure_future(anext(results, None))
            try:
                while not step.done():
                    await asyncio.wait((step,), timeout=SAVE_SECONDS)
                    if time.monotonic() - saved > SAVE_SECONDS:
                        await save()
                        saved = time.monotonic()
            finally:
                if not step.done():
                    step.cancel()
                    await asyncio.wait((step,))
            result = step.result()
            if result is None:
                return
            yield result
