"""How far the C-MOVEs of this process are: events from `dispatcher`, and a slow poll for when one was lost."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from itertools import count
from typing import Final

from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.retrieve import MoveCounters, MoveProgressed, MoveProgressReply, MoveProgressRequest
from osteon.contracts.topology import MOVE_PROGRESS
from osteon.errors import FailureKind, OsteonError
from osteon.logging import get_logger

PATIENCE: Final = 150.0
"""Seconds without progress or an answer, after which a C-MOVE is over for its requester: longer than another
`dispatcher` takes to go on with what a dead one has left."""
_POLL: Final = 3.0
_POLL_AGAIN: Final = 1.0
"""Seconds after a poll that was not answered."""
_POLL_TIMEOUT: Final = 5.0
_LAST_TIMEOUT: Final = 3.0
"""Seconds to say that an association is gone: its handler waits for it."""

log = get_logger(__name__)


class MoveProgressInbox:
    """Hands each `MoveProgressed` of this process to the C-MOVE that it is about."""

    def __init__(self) -> None:
        self._process = uuid.uuid4().hex
        self._numbers = count(1)
        self._receivers: dict[str, Callable[[MoveCounters], None]] = {}

    async def subscribe(self, bus: Bus) -> None:
        """Receive events from now on; raises `BusUnavailable`."""
        await bus.subscribe(MoveProgressed, self._receive, address=self._process)

    @contextmanager
    def receiving(self, receive: Callable[[MoveCounters], None]) -> Iterator[str]:
        """Call `receive` with the events of a C-MOVE; yields its address."""
        address = f"{self._process}.{next(self._numbers)}"
        self._receivers[address] = receive
        try:
            yield address
        finally:
            del self._receivers[address]

    async def _receive(self, progress: MoveProgressed) -> None:
        if (receive := self._receivers.get(progress.address)) is not None:
            receive(progress)


class MoveFollower:
    """Follows the job of one C-MOVE; `cancelled` is set when its requester cancels it."""

    def __init__(self, correlation_id: str, cancelled: asyncio.Event, bus: Bus) -> None:
        self._correlation_id, self._cancelled, self._bus = correlation_id, cancelled, bus
        self._latest: MoveCounters | None = None
        self._changed = asyncio.Event()
        self._failure: RequestFailed | None = None
        self._heard = asyncio.get_running_loop().time()

    def receive(self, progress: MoveCounters) -> None:
        """Take counts. Event and poll may overtake each other: counts never go back, and what is done stays done."""
        self._heard = asyncio.get_running_loop().time()
        latest = self._latest
        if latest is None or (not latest.done and (progress.done or _finished(progress) > _finished(latest))):
            self._latest = progress
            self._changed.set()

    async def follow(self, job_id: str, total: int) -> AsyncGenerator[MoveCounters | None]:
        """Yield counts when they change, until they are done.

        The last one is None when nothing was heard for `PATIENCE` seconds. Closing the generator before the last one
        stops the job. Raises `RequestFailed` when the job was deleted.
        """
        polling = asyncio.create_task(self._poll_forever(job_id))
        over = False
        try:
            async with aclosing(self._counts(total)) as counts:
                async for progress in counts:
                    over = progress is None or progress.done
                    yield progress
        except RequestFailed:
            over = True
            raise
        finally:
            polling.cancel()
            await asyncio.wait({polling})
            if not over:
                with suppress(OsteonError):  # the job ends by itself when all is sent
                    await self._ask(job_id, cancel=True, timeout=_LAST_TIMEOUT)

    async def _counts(self, total: int) -> AsyncGenerator[MoveCounters | None]:
        loop = asyncio.get_running_loop()
        latest = MoveCounters(correlation_id=self._correlation_id, remaining=total)
        while not latest.done:
            try:
                async with asyncio.timeout_at(self._heard + PATIENCE):
                    await self._changed.wait()
            except TimeoutError:
                if loop.time() < self._heard + PATIENCE:
                    continue  # an answer without news
                yield None
                return
            self._changed.clear()
            if self._failure is not None:
                raise self._failure
            latest = self._latest or latest
            yield latest

    async def _poll_forever(self, job_id: str) -> None:
        """Ask now and then how far it is; at once, to have it stopped, when it is cancelled."""
        pause, uninterrupted = _POLL, False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (asyncio.sleep(pause) if uninterrupted else self._cancelled.wait())
            try:
                cancel = self._cancelled.is_set()
                self.receive(await self._ask(job_id, cancel=cancel, timeout=_POLL_TIMEOUT))
                pause, uninterrupted = _POLL, cancel
            except OsteonError as error:
                if isinstance(error, RequestFailed) and error.kind is FailureKind.NOT_FOUND:
                    self._failure = error
                    self._changed.set()
                    return
                log.warning("C-MOVE status not answered", correlation_id=self._correlation_id, job=job_id,
                            error=str(error))  # fmt: skip
                pause, uninterrupted = _POLL_AGAIN, True

    async def _ask(self, job_id: str, *, cancel: bool, timeout: float) -> MoveProgressReply:
        message = MoveProgressRequest(correlation_id=self._correlation_id, job_id=job_id, cancel=cancel)
        return await self._bus.request(MOVE_PROGRESS, message, timeout=timeout)


def _finished(progress: MoveCounters) -> int:
    return progress.completed + progress.failed + progress.warning
