"""What every bus does with a delivery: by the type of the handler's error it is done, retried, or parked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

from osteon import metrics, tracing
from osteon.bus.envelope import BadMessage, DeadLetter, Envelope, History, decode, describe, raised_at
from osteon.bus.port import BusUnavailable
from osteon.contracts.base import Message
from osteon.contracts.topology import MAX_ATTEMPTS, PARK_BURST, SUCCESSES_PER_PARK
from osteon.errors import Invalid, Unavailable
from osteon.logging import correlated, get_logger

M = TypeVar("M", bound=Message)
D = TypeVar("D", bound="Delivery")
log = get_logger(__name__)


class Delivery(Protocol):
    """An envelope that the broker delivered and whose outcome it waits for. Its methods raise `BusUnavailable`."""

    @property
    def envelope(self) -> Envelope:
        """What was delivered."""

    @property
    def stale(self) -> bool:
        """Whether the broker delivers it again in any case: the connection that it came by is gone."""

    async def ack(self) -> None:
        """Acknowledge: it is done."""


class WorkDelivery(Delivery, Protocol):
    """A delivery from a work queue, which may have to be retried."""

    async def retry(self, envelope: Envelope, step: int) -> None:
        """Have `envelope` delivered instead, after the back-off of this step (0, 1, ...)."""

    async def park(self, dead: DeadLetter) -> None:
        """Put it into the dead-letter queue."""


class DeliveryResult(StrEnum):
    """What became of a delivery; the label of `osteon_messages_handled_total`."""

    DONE = "done"
    RETRY_UNAVAILABLE = "retry_unavailable"
    """A part is unavailable: retried for as long as it takes."""
    RETRY = "retry"
    PARKED = "parked"
    DLQ_LIMITED = "dlq_limited"
    """To be parked, but too many are: retried until others succeed (`DlqLimit`)."""


@dataclass(frozen=True, slots=True)
class FailureDecision:
    """What to do with a delivery whose handler failed."""

    result: DeliveryResult
    history: History
    reason: str = ""


def classify_failure(error: Exception, before: History) -> FailureDecision:
    """Decide about a failed delivery by the type of its error (see `osteon.bus.port`)."""
    counts = not isinstance(error, Unavailable)
    text = describe(error)
    after = replace(
        before,
        attempts=before.attempts + counts,
        retries=before.retries + 1,
        first_error=before.first_error or text,
        last_error=text,
        place=raised_at(error),
    )
    if isinstance(error, Invalid):
        return FailureDecision(DeliveryResult.PARKED, after, "invalid")
    if not counts:
        return FailureDecision(DeliveryResult.RETRY_UNAVAILABLE, after)
    if after.attempts >= MAX_ATTEMPTS:
        return FailureDecision(DeliveryResult.PARKED, after, "attempts")
    return FailureDecision(DeliveryResult.RETRY, after)


class DlqLimit:
    """Lets a few bad messages be parked, but not the whole stream when it is the code that is bad.

    `topology.PARK_BURST` may be parked at once, and one more for every `SUCCESSES_PER_PARK` that are handled.
    """

    _FULL: Final = PARK_BURST * SUCCESSES_PER_PARK

    def __init__(self) -> None:
        self._earned = self._FULL

    def record_success(self) -> None:
        """Count a message that was handled."""
        self._earned = min(self._earned + 1, self._FULL)

    def try_acquire(self) -> bool:
        """Whether one more message may be parked; it counts as parked then."""
        if self._earned < SUCCESSES_PER_PARK:
            return False
        self._earned -= SUCCESSES_PER_PARK
        return True


class Worker(Generic[M]):
    """Hands batches of deliveries to a handler and settles each delivery by what came of it.

    `settle_pause` in seconds: before an outcome that the broker did not accept is reported again.
    """

    def __init__(
        self,
        queue: str,
        message: type[M],
        handler: Callable[[Sequence[M]], Awaitable[None]],
        *,
        settle_pause: float = 1.0,
    ) -> None:
        self._settle_pause = settle_pause
        self._queue = queue
        self._message = message
        self._handler = handler
        self._dlq_limit = DlqLimit()
        for result in DeliveryResult:
            metrics.MESSAGES_HANDLED.labels(queue, result)  # from 0 on: alerts see the first one

    async def __call__(self, deliveries: Sequence[WorkDelivery]) -> None:
        """Handle a batch; when it fails for any reason but an unavailable part, its messages one by one."""
        batch: list[tuple[WorkDelivery, M]] = []
        for delivery in deliveries:
            message = await self._read(delivery)
            if message is not None:
                batch.append((delivery, message))
        if len(batch) > 1 and await self._handle_together(batch):
            return
        for delivery, message in batch:
            await self._handle_alone(delivery, message)

    async def _handle(self, messages: Sequence[M]) -> None:
        with (
            metrics.MESSAGE_SECONDS.labels(self._queue).time(),
            tracing.process_messages(messages, self._queue) as traced,
        ):
            await self._handler(traced)

    async def _read(self, delivery: WorkDelivery) -> M | None:
        if delivery.stale:
            return None
        observe_wait(self._queue, delivery.envelope)
        try:
            return decode(delivery.envelope, self._message)
        except BadMessage as error:
            await self._fail(delivery, error)
            return None

    async def _handle_together(self, batch: Sequence[tuple[WorkDelivery, M]]) -> bool:
        """Try a batch at once; returns False when its messages must be tried one by one."""
        try:
            await self._handle([message for _, message in batch])
        except Unavailable as error:
            for delivery, message in batch:
                with correlated(message.correlation_id):
                    await self._fail(delivery, error)
        except Exception as error:
            log.warning("batch failed, handling its messages one by one", queue=self._queue, size=len(batch),
                        error=describe(error))  # fmt: skip
            return False
        else:
            for delivery, _ in batch:
                await self._complete(delivery)
        return True

    async def _handle_alone(self, delivery: WorkDelivery, message: M) -> None:
        with correlated(message.correlation_id):
            try:
                await self._handle([message])
            except Exception as error:
                await self._fail(delivery, error)
            else:
                await self._complete(delivery)

    async def _complete(self, delivery: WorkDelivery) -> None:
        await self._settle(delivery, delivery.ack)
        self._dlq_limit.record_success()
        metrics.MESSAGES_HANDLED.labels(self._queue, DeliveryResult.DONE).inc()

    async def _fail(self, delivery: WorkDelivery, error: Exception) -> None:
        decision = classify_failure(error, delivery.envelope.history)
        if decision.result is DeliveryResult.PARKED and not self._dlq_limit.try_acquire():
            decision = replace(decision, result=DeliveryResult.DLQ_LIMITED)
        envelope = replace(delivery.envelope, history=decision.history)
        self._report(envelope, decision, error)
        if decision.result is DeliveryResult.PARKED:
            dead = DeadLetter(envelope, self._queue, decision.reason)
            await self._settle(delivery, lambda: delivery.park(dead))
        else:
            await self._settle(delivery, lambda: delivery.retry(envelope, decision.history.retries - 1))
        metrics.MESSAGES_HANDLED.labels(self._queue, decision.result).inc()

    def _report(self, envelope: Envelope, decision: FailureDecision, error: Exception) -> None:
        facts = {"queue": self._queue, "message": envelope.type, "id": envelope.id, "error": describe(error)}
        match decision.result:
            case DeliveryResult.RETRY_UNAVAILABLE:
                log.warning("part unavailable, message will be retried", retries=decision.history.retries, **facts)
            case DeliveryResult.RETRY:
                log.error(
                    "message failed, will be retried", attempts=decision.history.attempts, exc_info=error, **facts
                )
            case DeliveryResult.DLQ_LIMITED:
                log.error("dead-letter limit reached, message will be retried until others succeed",
                          reason=decision.reason, **facts)  # fmt: skip
            case _:
                unexpected = None if isinstance(error, Invalid) else error
                log.error("message parked", reason=decision.reason, exc_info=unexpected, **facts)

    async def _settle(self, delivery: WorkDelivery, action: Callable[[], Awaitable[None]]) -> None:
        """Report an outcome until the broker takes it: giving the message back would count as a delivery."""
        while not delivery.stale:
            try:
                await action()
                return
            except BusUnavailable as error:
                log.warning("broker did not accept the outcome of a message", queue=self._queue, error=str(error))
                await asyncio.sleep(self._settle_pause)
        log.info("connection lost before the message was settled, it will be redelivered", queue=self._queue)


class EventListener(Generic[M]):
    """Hands events to a handler one by one. An event is a hint: when its handler fails, that is logged and no more."""

    def __init__(self, message: type[M], handler: Callable[[M], Awaitable[None]]) -> None:
        self._message = message
        self._handler = handler

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        """Handle each event."""
        for delivery in deliveries:
            with correlated(delivery.envelope.correlation_id):
                result = "failed"
                try:
                    await self._handler(decode(delivery.envelope, self._message))
                    result = DeliveryResult.DONE
                except Exception as error:
                    log.error("event failed", message=self._message.__name__, exc_info=error)
                metrics.MESSAGES_HANDLED.labels(f"event {self._message.__name__}", result).inc()
                await dismiss(delivery)


def observe_wait(queue: str, envelope: Envelope) -> None:
    """Record how long an envelope has waited."""
    if envelope.waited is not None:
        metrics.QUEUE_WAIT_SECONDS.labels(queue).observe(envelope.waited)


async def dismiss(delivery: Delivery) -> None:
    """Acknowledge a delivery that may come twice."""
    try:
        await delivery.ack()
    except BusUnavailable as error:
        log.info("acknowledgement failed, the message may be redelivered", error=str(error))


def one_by_one(handler: Callable[[M], Awaitable[None]]) -> Callable[[Sequence[M]], Awaitable[None]]:
    """Return a handler of batches that hands each message to a handler of single ones."""

    async def handle_each(messages: Sequence[M]) -> None:
        for message in messages:
            await handler(message)

    return handle_each
