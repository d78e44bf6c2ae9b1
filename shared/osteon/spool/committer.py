"""Group commit: a few threads write for all associations, sync each file once, and wake everybody at once.

Each association has a `Lane`, whose work is done in order and by one thread at a time. A thread takes everything that
waits in a lane, does it, and then commits the lane, so that instances that came meanwhile share one sync.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_Result = tuple[asyncio.Future[Any], object, BaseException | None]


class Work(Protocol):
    """What a lane does its work on."""

    def commit(self) -> None:
        """Make what was done durable; called once after each batch, in the same thread."""


class Lane:
    """The work of one association."""

    def __init__(self, committer: "Committer", target: Work, committed: Callable[[], None]) -> None:
        self._committer = committer
        self._target = target
        self.committed = committed
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
        results = [_attempt(work, future) for work, future in batch]
        try:
            self._target.commit()
        except Exception as error:  # what was written is not known to be safe: nobody may hear of success
            results = [(future, None, earlier or error) for future, _, earlier in results]
        return results

    def rest(self) -> None:
        """The results of `run` are on their way: another thread may take what came meanwhile."""
        with self._lock:
            self._scheduled = again = bool(self._waiting)
        if again:
            self._committer.schedule(self)


class Committer:
    """The threads. Make it on a running event loop; `close` it once nothing will be submitted any more."""

    def __init__(self, workers: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._ready: SimpleQueue[Lane | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"spool-{n}", daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    def lane(self, target: Work, committed: Callable[[], None]) -> Lane:
        """Return a new lane; `committed` is called on the event loop after each batch, before its waiters go on."""
        return Lane(self, target, committed)

    def schedule(self, lane: Lane) -> None:
        """Have a thread run `lane` soon."""
        self._ready.put(lane)

    def close(self) -> None:
        """Finish what was submitted and end the threads. Blocks."""
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (lane := self._ready.get()) is not None:
            self.loop.call_soon_threadsafe(_deliver, lane, lane.run())
            lane.rest()


def _attempt(work: Callable[[], object], future: asyncio.Future[Any]) -> _Result:
    try:
        return future, work(), None
    except Exception as error:  # goes to whoever waits
        return future, None, error


def _deliver(lane: Lane, results: list[_Result]) -> None:
    for future, result, error in results:
        if future.done():  # cancelled: its association is gone
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    lane.committed()  # whoever waits for a future goes on only after this
