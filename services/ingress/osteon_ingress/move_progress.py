"""Progress of the C-MOVEs of this process: events from `dispatcher`, and a slow poll in case one was lost."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.retrieve import MoveCounters, MoveProgressed, MoveProgressReply, MoveProgressRequest
from osteon.contracts.topology import MOVE_PROGRESS
from osteon.errors import FailureKind, OsteonError
from osteon.logging import get_logger

_POLL_TIMEOUT: Final = 5.0
_LAST_TIMEOUT: Final = 3.0
"""Seconds to report that an association has ended: its handler waits for it."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MovePolling:
    """Times of following a C-MOVE, in seconds."""

    interval: float = 3.0
    retry: float = 1.0
    """After a poll without an answer."""
    timeout: float = 150.0
    """Without progress or an answer, after which a C-MOVE is over for its requester: longer than another `dispatcher`
    takes to continue the jobs of a dead one."""


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

    def __init__(self, correlation_id: str, cancelled: asyncio.Event, bus: Bus, polling: MovePolling) -> None:
        self._correlation_id, self._cancelled, self._bus, self._polling = correlation_id, cancelled, bus, polling
        self._latest: MoveCounters | None = None
        self._changed = asyncio.Event()
        self._failure: RequestFailed | None = None
        self._received_at = asyncio.get_running_loop().time()

    def receive(self, progress: MoveCounters) -> None:
        """Take counts. Event and poll may overtake each other: counts never go back, and what is done stays done."""
        self._received_at = asyncio.get_running_loop().time()
        latest = self._latest
        if latest is None or (not latest.done and (progress.done or _finished(progress) > _finished(latest))):
            self._latest = progress
            self._changed.set()

    async def follow(self, job_id: str, total: int) -> AsyncGenerator[MoveCounters | None]:
        """Yield counts when they change, until they are done.

        The last one is None when nothing came for `MovePolling.timeout` seconds. Closing the generator before the last
        one stops the job. Raises `RequestFailed` when the job was deleted.
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
                    await self._request_progress(job_id, cancel=True, timeout=_LAST_TIMEOUT)

    async def _counts(self, total: int) -> AsyncGenerator[MoveCounters | None]:
        loop = asyncio.get_running_loop()
        latest = MoveCounters(correlation_id=self._correlation_id, remaining=total)
        while not latest.done:
            try:
                async with asyncio.timeout_at(self._received_at + self._polling.timeout):
                    await self._changed.wait()
            except TimeoutError:
                if loop.time() < self._received_at + self._polling.timeout:
                    continue  # an answer without news
                yield None
                return
            self._changed.clear()
            if self._failure is not None:
                raise self._failure
            latest = self._latest or latest
            yield latest

    async def _poll_forever(self, job_id: str) -> None:
        """Request the counts at intervals; at once, with the order to stop, when the requester cancels."""
        pause, uninterrupted = self._polling.interval, False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (asyncio.sleep(pause) if uninterrupted else self._cancelled.wait())
            try:
                cancel = self._cancelled.is_set()
                self.receive(await self._request_progress(job_id, cancel=cancel, timeout=_POLL_TIMEOUT))
                pause, uninterrupted = self._polling.interval, cancel
            except OsteonError as error:
                if isinstance(error, RequestFailed) and error.kind is FailureKind.NOT_FOUND:
                    self._failure = error
                    self._changed.set()
                    return
                log.warning("C-MOVE status not answered", correlation_id=self._correlation_id, job=job_id,
                            error=str(error))  # fmt: skip
                pause, uninterrupted = self._polling.retry, True

    async def _request_progress(self, job_id: str, *, cancel: bool, timeout: float) -> MoveProgressReply:
        message = MoveProgressRequest(correlation_id=self._correlation_id, job_id=job_id, cancel=cancel)
        return await self._bus.request(MOVE_PROGRESS, message, timeout=timeout)


def _finished(progress: MoveCounters) -> int:
    return progress.completed + progress.failed + progress.warning
