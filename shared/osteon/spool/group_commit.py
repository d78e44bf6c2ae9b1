"""Group commit: a few threads write for all associations, and one sync serves all instances that wait for it.

Each association has a `CommitQueue`, whose work is done in order and by one thread at a time. A thread takes all the
work that waits in a queue, does it, and then commits once, so that instances that arrived meanwhile share one sync.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_Result = tuple[asyncio.Future[Any], object, BaseException | None]


class CommitTarget(Protocol):
    """What the work of a queue changes."""

    def commit(self) -> None:
        """Make what was done durable; called once after each batch, in the same thread."""


class CommitQueue:
    """The work of one association, in order. `on_commit` is called on the event loop after each batch."""

    def __init__(self, committer: "GroupCommitter", target: CommitTarget, on_commit: Callable[[], None]) -> None:
        self._committer = committer
        self._target = target
        self.on_commit = on_commit
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], object], asyncio.Future[Any]]] = deque()
        self._scheduled = False

    def submit(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do `work` in a thread; the future is done once the batch that it was part of has been committed."""
        future: asyncio.Future[T] = self._committer.loop.create_future()
        with self._lock:
            self._waiting.append((work, future))
            schedule, self._scheduled = not self._scheduled, True
        if schedule:
            self._committer.schedule(self)
        return future

    def run(self) -> list[_Result]:
        """Do all that waits, then commit (in a worker thread)."""
        with self._lock:
            batch, self._waiting = self._waiting, deque()
        results: list[_Result] = []
        for work, future in batch:
            try:
                results.append((future, work(), None))
            except Exception as error:  # the waiter gets it
                results.append((future, None, error))
        try:
            self._target.commit()
        except Exception as error:  # it is unknown what is durable: nothing of the batch counts as written
            results = [(future, None, earlier or error) for future, _, earlier in results]
        return results

    def reschedule(self) -> None:
        """Let another thread take the work that was submitted during `run`, whose results are delivered by now."""
        with self._lock:
            self._scheduled = more = bool(self._waiting)
        if more:
            self._committer.schedule(self)


class GroupCommitter:
    """The threads. Create it on a running event loop; `close` it once nothing more will be submitted."""

    def __init__(self, workers: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._ready: SimpleQueue[CommitQueue | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"spool-{n}", daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    def queue(self, target: CommitTarget, on_commit: Callable[[], None]) -> CommitQueue:
        """Return a new queue; `on_commit` is called on the event loop after each batch, before its waiters continue."""
        return CommitQueue(self, target, on_commit)

    def schedule(self, queue: CommitQueue) -> None:
        """Have a thread run `queue` soon."""
        self._ready.put(queue)

    def close(self) -> None:
        """Finish what was submitted and end the threads. Blocks."""
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (queue := self._ready.get()) is not None:
            self.loop.call_soon_threadsafe(_deliver, queue, queue.run())
            queue.reschedule()


def _deliver(queue: CommitQueue, results: list[_Result]) -> None:
    for future, result, error in results:
        if future.done():  # cancelled: its association is gone
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    queue.on_commit()  # before the waiters of the futures continue
