"""The tasks of a consumer: each takes a batch from the inbox and hands it on."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from osteon import logging

T = TypeVar("T")
log = logging.get_logger(__name__)


_LONGEST_LINGER: Final = 0.5
"""Seconds for which a batch is gathered at most because the one before took long."""


class TaskPool(Generic[T]):
    """Tasks that take what arrives in `inbox` and work on it, one batch a task at a time.

    A batch of several is gathered for `linger` seconds, and for as long as the one before it took when others came
    meanwhile: what a batch costs, whatever its size, is shared by more when there is more to do.
    """

    def __init__(
        self,
        work: Callable[[Sequence[T]], Awaitable[None]],
        *,
        tasks: int,
        inbox: asyncio.Queue[T] | None = None,
        size: int = 1,
        linger: float = 0.0,
    ) -> None:
        self.inbox: asyncio.Queue[T] = asyncio.Queue() if inbox is None else inbox
        self._work = work
        self._size = size
        self._linger = linger
        self._stopping = False
        self._idle: set[asyncio.Task[None]] = set()
        self._tasks = [asyncio.create_task(self._run()) for _ in range(tasks)]

    async def stop(self, grace: float) -> None:
        """Start nothing more, let what was started end within `grace` seconds, then cancel it."""
        self._stopping = True
        for task in self._idle:
            task.cancel()
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        loop, linger = asyncio.get_running_loop(), self._linger
        while not self._stopping:
            batch = await self._gather(linger)
            began = loop.time()
            try:
                await self._work(batch)
            except Exception:
                # Unsettled messages come again with the next connection; the others still need this task.
                log.exception("delivery not settled")
            linger = self._linger
            if linger and self.inbox.qsize():
                linger = max(linger, min(loop.time() - began, _LONGEST_LINGER))

    async def _gather(self, seconds: float) -> list[T]:
        batch = [await self._first()]
        deadline = asyncio.get_running_loop().time() + seconds
        while len(batch) < self._size:
            try:
                async with asyncio.timeout_at(deadline):
                    batch.append(self.inbox.get_nowait() if self.inbox.qsize() else await self.inbox.get())
            except TimeoutError:
                break
        return batch

    async def _first(self) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._idle.add(task)
        try:
            return await self.inbox.get()
        finally:
            self._idle.discard(task)
