"""Request and reply, as every bus does it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from osteon import metrics, tracing
from osteon.bus.envelope import Envelope, decode, describe, encode
from osteon.bus.port import RequestFailed
from osteon.bus.worker import D, dismiss, observe_wait
from osteon.contracts.base import Message
from osteon.contracts.failure import FailureReply
from osteon.contracts.topology import RpcQueue
from osteon.errors import Invalid, NotFound, OsteonError
from osteon.logging import correlated, get_logger

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
log = get_logger(__name__)


def decode_reply(envelope: Envelope, expected: type[R]) -> R:
    """Return the reply in an envelope; raises `RequestFailed`, or `BadMessage` for a reply of another type."""
    if envelope.type == FailureReply.__name__:
        raise RequestFailed(decode(envelope, FailureReply))
    return decode(envelope, expected)


class RequestHandler(Generic[D, Q, R]):
    """Handles requests; whatever happens, a request is answered once or left to its timeout."""

    def __init__(
        self,
        queue: RpcQueue[Q, R],
        handler: Callable[[Q], Awaitable[R]],
        send_reply: Callable[[D, Envelope], Awaitable[None]],
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._send_reply = send_reply

    async def __call__(self, deliveries: Sequence[D]) -> None:
        """Answer each delivery."""
        for delivery in deliveries:
            if not delivery.stale:
                await self._answer(delivery)

    async def _answer(self, delivery: D) -> None:
        name = self._queue.name
        result = "failed"
        observe_wait(name, delivery.envelope)
        with correlated(delivery.envelope.correlation_id):
            try:
                reply = await self._reply_to(decode(delivery.envelope, self._queue.request))
                await self._send_reply(delivery, encode(reply))
                result = "refused" if isinstance(reply, FailureReply) else "done"
            except Exception as error:
                log.error("request failed", queue=name, error=describe(error), exc_info=error)
            metrics.MESSAGES_HANDLED.labels(name, result).inc()
            await dismiss(delivery)

    async def _reply_to(self, request: Q) -> R | FailureReply:
        name = self._queue.name
        try:
            with metrics.MESSAGE_SECONDS.labels(name).time(), tracing.process_messages([request], name) as (traced,):
                return await self._handler(traced)
        except OsteonError as error:
            level = log.info if isinstance(error, Invalid | NotFound) else log.warning
            level("request refused", queue=name, kind=error.kind, error=str(error))
            return FailureReply(correlation_id=request.correlation_id, kind=error.kind, text=str(error))
