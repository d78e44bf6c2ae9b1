"""Begins work ahead of the consumer of its results, in order, with a bound on the memory that results hold."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

R = TypeVar("R")


class MemoryBudget:
    """Bytes that all lines of a process may hold ahead together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def has(self, size: int) -> bool:
        """Whether so many bytes are free."""
        return self.used + size <= self._limit


class Prefetcher(Generic[R]):
    """Runs steps ahead while their sizes fit into `limit` bytes, and into `memory` with those of others.

    What is consumed next is always begun, so that every association gets on however little memory there is.
    """

    def __init__(self, memory: MemoryBudget, limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._held = 0
        self._changed = asyncio.Event()
        self._begun: asyncio.Queue[tuple[int, asyncio.Task[R]] | None] = asyncio.Queue()

    async def run(self, steps: AsyncIterator[tuple[int, Callable[[], Awaitable[R]]]]) -> AsyncGenerator[R]:
        """Yield the results of steps (bytes that the result holds, work). What a step raises ends it.

        The memory of a result counts until the next one is consumed.
        """
        beginning = asyncio.create_task(self._begin(steps))
        try:
            while (entry := await self._begun.get()) is not None:
                size, task = entry
                try:
                    yield await task
                finally:
                    task.cancel()
                    self._release(size)
            await beginning
        finally:
            await self._stop(beginning)

    async def _begin(self, steps: AsyncIterator[tuple[int, Callable[[], Awaitable[R]]]]) -> None:
        try:
            async for size, work in steps:
                while self._held and (self._held + size > self._limit or not self._memory.has(size)):
                    self._changed.clear()
                    await self._changed.wait()
                self._held += size
                self._memory.used += size
                self._begun.put_nowait((size, asyncio.create_task(_result(work))))
        finally:
            self._begun.put_nowait(None)

    def _release(self, size: int) -> None:
        self._held -= size
        self._memory.used -= size
        self._changed.set()

    async def _stop(self, beginning: asyncio.Task[None]) -> None:
        """End all tasks. All are cancelled before any is waited for, as the wait may be cancelled too."""
        ending: list[asyncio.Task[R] | asyncio.Task[None]] = [beginning]
        while not self._begun.empty():
            entry = self._begun.get_nowait()
            if entry is not None:
                self._release(entry[0])
                ending.append(entry[1])
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


async def _result(work: Callable[[], Awaitable[R]]) -> R:
    return await work()
