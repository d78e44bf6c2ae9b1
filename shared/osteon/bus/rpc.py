"""The answering side of request and reply, shared by every bus."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from osteon import metrics, tracing
from osteon.bus.wire import Letter, decode, describe, encode
from osteon.bus.worker import D, count_wait, dismiss
from osteon.contracts.base import Message
from osteon.contracts.topology import RpcQueue
from osteon.logging import correlated, get_logger

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message)
log = get_logger(__name__)


class Answerer(Generic[D]):
    """Handles requests; whatever happens, a request is answered once or left to its timeout."""

    def __init__(
        self,
        queue: RpcQueue,
        handler: Callable[[M], Awaitable[R]],
        reply: Callable[[D, Letter], Awaitable[None]],
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._reply = reply

    async def __call__(self, deliveries: Sequence[D]) -> None:
        """Answer each delivery."""
        for delivery in deliveries:
            if not delivery.stale:
                await self._answer(delivery)

    async def _answer(self, delivery: D) -> None:
        letter = delivery.letter
        result = "failed"
        count_wait(self._queue.name, letter)
        with correlated(letter.correlation_id):
            try:
                answer = await self._handle(decode(letter, self._queue.message))
                await self._reply(delivery, encode(answer))
                result = "done"
            except Exception as error:
                log.error("request failed", queue=self._queue.name, error=describe(error), exc_info=error)
            metrics.MESSAGES_HANDLED.labels(self._queue.name, result).inc()
            await dismiss(delivery)

    async def _handle(self, message: Message) -> Message:
        name = self._queue.name
        with metrics.MESSAGE_SECONDS.labels(name).time(), tracing.handling([message], name) as (traced,):
            return await self._handler(traced)  # type: ignore[arg-type]  # M of the queue
