"""What every bus does with a delivery: by the type of the handler's error it is done, tried again, or parked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

from osteon import metrics, tracing
from osteon.bus.port import BusUnavailable
from osteon.bus.wire import BadMessage, DeadLetter, History, Letter, decode, describe, place_of
from osteon.contracts.base import Message
from osteon.contracts.topology import MAX_ATTEMPTS, PARK_BURST, SUCCESSES_PER_PARK
from osteon.errors import Invalid, Unavailable
from osteon.logging import correlated, get_logger

M = TypeVar("M", bound=Message)
D = TypeVar("D", bound="Delivery")
log = get_logger(__name__)
_SETTLE_PAUSE = 1.0


class Delivery(Protocol):
    """A letter that the broker handed over and waits to hear about. Its methods raise `BusUnavailable`."""

    @property
    def letter(self) -> Letter:
        """What was delivered."""

    @property
    def stale(self) -> bool:
        """Whether the broker will deliver it again whatever is said now: the connection it came by is gone."""

    async def ack(self) -> None:
        """Say that it is done."""


class WorkDelivery(Delivery, Protocol):
    """A delivery from a work queue, which may have to be tried again."""

    async def retry(self, letter: Letter, step: int) -> None:
        """Have `letter` delivered instead, after the back-off of this step (0, 1, ...)."""

    async def park(self, dead: DeadLetter) -> None:
        """Put it into the dead-letter queue."""


class Result(StrEnum):
    """What became of a delivery; the label of `osteon_messages_handled_total`."""

    DONE = "done"
    WAIT = "wait"
    """A part is unavailable: tried again for as long as it takes."""
    RETRY = "retry"
    PARKED = "parked"
    HELD = "held"
    """To be parked, but too many are: tried again until others succeed (`ParkLimit`)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a delivery whose handler failed."""

    result: Result
    history: History
    reason: str = ""


def judge(error: Exception, before: History) -> Verdict:
    """Decide about a failed delivery by the type of its error (see `osteon.bus.port`)."""
    counts = not isinstance(error, Unavailable)
    text = describe(error)
    after = replace(
        before,
        attempts=before.attempts + counts,
        retries=before.retries + 1,
        first_error=before.first_error or text,
        last_error=text,
        place=place_of(error),
    )
    if isinstance(error, Invalid):
        return Verdict(Result.PARKED, after, "invalid")
    if not counts:
        return Verdict(Result.WAIT, after)
    if after.attempts >= MAX_ATTEMPTS:
        return Verdict(Result.PARKED, after, "attempts")
    return Verdict(Result.RETRY, after)


class ParkLimit:
    """Lets a few bad messages be parked, but not the whole stream when it is the code that is bad.

    `topology.PARK_BURST` may be parked at once, and one more for every `SUCCESSES_PER_PARK` that are handled.
    """

    _FULL: Final = PARK_BURST * SUCCESSES_PER_PARK

    def __init__(self) -> None:
        self._earned = self._FULL

    def done(self) -> None:
        """A message was handled."""
        self._earned = min(self._earned + 1, self._FULL)

    def take(self) -> bool:
        """Whether one more may be parked."""
        if self._earned < SUCCESSES_PER_PARK:
            return False
        self._earned -= SUCCESSES_PER_PARK
        return True


class Worker(Generic[M]):
    """Hands batches of deliveries to a handler and settles each delivery by what came of it."""

    def __init__(self, queue: str, message: type[M], handler: Callable[[Sequence[M]], Awaitable[None]]) -> None:
        self._queue = queue
        self._message = message
        self._handler = handler
        self._park_limit = ParkLimit()
        for result in Result:
            metrics.MESSAGES_HANDLED.labels(queue, result)  # from 0 on: alerts see the first one

    async def __call__(self, deliveries: Sequence[WorkDelivery]) -> None:
        """Handle a batch; when it fails for any reason but an unavailable part, its messages one by one."""
        batch: list[tuple[WorkDelivery, M]] = []
        for delivery in deliveries:
            message = await self._read(delivery)
            if message is not None:
                batch.append((delivery, message))
        if len(batch) > 1 and await self._together(batch):
            return
        for delivery, message in batch:
            await self._alone(delivery, message)

    async def _handle(self, messages: Sequence[M]) -> None:
        with metrics.MESSAGE_SECONDS.labels(self._queue).time(), tracing.handling(messages, self._queue) as traced:
            await self._handler(traced)

    async def _read(self, delivery: WorkDelivery) -> M | None:
        if delivery.stale:
            return None
        count_wait(self._queue, delivery.letter)
        try:
            return decode(delivery.letter, self._message)
        except BadMessage as error:
            await self._failed(delivery, error)
            return None

    async def _together(self, batch: Sequence[tuple[WorkDelivery, M]]) -> bool:
        """Try a batch at once; returns False when its messages must be tried one by one."""
        try:
            await self._handle([message for _, message in batch])
        except Unavailable as error:
            for delivery, message in batch:
                with correlated(message.correlation_id):
                    await self._failed(delivery, error)
        except Exception as error:
            log.warning("batch failed, trying its messages one by one", queue=self._queue, size=len(batch),
                        error=describe(error))  # fmt: skip
            return False
        else:
            for delivery, _ in batch:
                await self._done(delivery)
        return True

    async def _alone(self, delivery: WorkDelivery, message: M) -> None:
        with correlated(message.correlation_id):
            try:
                await self._handle([message])
            except Exception as error:
                await self._failed(delivery, error)
            else:
                await self._done(delivery)

    async def _done(self, delivery: WorkDelivery) -> None:
        await self._settle(delivery, delivery.ack)
        self._park_limit.done()
        metrics.MESSAGES_HANDLED.labels(self._queue, Result.DONE).inc()

    async def _failed(self, delivery: WorkDelivery, error: Exception) -> None:
        verdict = judge(error, delivery.letter.history)
        if verdict.result is Result.PARKED and not self._park_limit.take():
            verdict = replace(verdict, result=Result.HELD)
        letter = replace(delivery.letter, history=verdict.history)
        self._report(letter, verdict, error)
        if verdict.result is Result.PARKED:
            dead = DeadLetter(letter, self._queue, verdict.reason)
            await self._settle(delivery, lambda: delivery.park(dead))
        else:
            await self._settle(delivery, lambda: delivery.retry(letter, verdict.history.retries - 1))
        metrics.MESSAGES_HANDLED.labels(self._queue, verdict.result).inc()

    def _report(self, letter: Letter, verdict: Verdict, error: Exception) -> None:
        facts = {"queue": self._queue, "message": letter.type, "id": letter.id, "error": describe(error)}
        match verdict.result:
            case Result.WAIT:
                log.warning("a part is unavailable, trying again later", retries=verdict.history.retries, **facts)
            case Result.RETRY:
                log.error("failed, trying again later", attempts=verdict.history.attempts, exc_info=error, **facts)
            case Result.HELD:
                log.error("not parked, too many are: tried again until others succeed. Is this release broken?",
                          reason=verdict.reason, **facts)  # fmt: skip
            case _:
                unexpected = None if isinstance(error, Invalid) else error
                log.error("message parked", reason=verdict.reason, exc_info=unexpected, **facts)

    async def _settle(self, delivery: WorkDelivery, action: Callable[[], Awaitable[None]]) -> None:
        """Tell the broker, again and again while it refuses: giving the message back would count as a delivery."""
        while not delivery.stale:
            try:
                await action()
                return
            except BusUnavailable as error:
                log.warning("the broker did not take the outcome of a message", queue=self._queue, error=str(error))
                await asyncio.sleep(_SETTLE_PAUSE)
        log.info("connection lost before a message was settled; it comes again", queue=self._queue)


class Listener(Generic[M]):
    """Hands events to a handler one by one. An event is a hint: when its handler fails, it is logged and gone."""

    def __init__(self, message: type[M], handler: Callable[[M], Awaitable[None]]) -> None:
        self._message = message
        self._handler = handler

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        """Handle each event."""
        for delivery in deliveries:
            with correlated(delivery.letter.correlation_id):
                result = "failed"
                try:
                    await self._handler(decode(delivery.letter, self._message))
                    result = Result.DONE
                except Exception as error:
                    log.error("event not handled", message=self._message.__name__, exc_info=error)
                metrics.MESSAGES_HANDLED.labels(f"event {self._message.__name__}", result).inc()
                await dismiss(delivery)


def count_wait(queue: str, letter: Letter) -> None:
    """Note how long a letter waited until now."""
    if letter.waited is not None:
        metrics.QUEUE_WAIT_SECONDS.labels(queue).observe(letter.waited)


async def dismiss(delivery: Delivery) -> None:
    """Acknowledge a delivery that nobody misses if it comes twice."""
    try:
        await delivery.ack()
    except BusUnavailable as error:
        log.info("not acknowledged, it may come again", error=str(error))


def single(handler: Callable[[M], Awaitable[None]]) -> Callable[[Sequence[M]], Awaitable[None]]:
    """Make a handler of one message one of batches."""

    async def each(messages: Sequence[M]) -> None:
        for message in messages:
            await handler(message)

    return each


class Pool(Generic[D]):
    """Tasks that take what arrives in `inbox` and work on it, one batch a task at a time."""

    def __init__(
        self,
        work: Callable[[Sequence[D]], Awaitable[None]],
        *,
        tasks: int,
        inbox: asyncio.Queue[D] | None = None,
        size: int = 1,
        linger: float = 0.0,
    ) -> None:
        self.inbox: asyncio.Queue[D] = asyncio.Queue() if inbox is None else inbox
        self._work = work
        self._size = size
        self._linger = linger
        self._stopping = False
        self._idle: set[asyncio.Task[None]] = set()
        self._tasks = [asyncio.create_task(self._run()) for _ in range(tasks)]

    async def stop(self, grace: float) -> None:
        """Begin nothing more and let what was begun end within `grace` seconds; then cancel it."""
        self._stopping = True
        for task in self._idle:
            task.cancel()
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        while not self._stopping:
            batch = await self._gather()
            try:
                await self._work(batch)
            except Exception:
                # Unsettled messages come again with the next connection; the task must live on for the others.
                log.exception("delivery could not be settled")

    async def _gather(self) -> list[D]:
        batch = [await self._first()]
        deadline = asyncio.get_running_loop().time() + self._linger
        while len(batch) < self._size:
            try:
                async with asyncio.timeout_at(deadline):
                    batch.append(self.inbox.get_nowait() if self.inbox.qsize() else await self.inbox.get())
            except TimeoutError:
                break
        return batch

    async def _first(self) -> D:
        task = asyncio.current_task()
        assert task is not None
        self._idle.add(task)
        try:
            return await self.inbox.get()
        finally:
            self._idle.discard(task)
