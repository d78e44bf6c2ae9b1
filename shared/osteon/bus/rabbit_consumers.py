"""What a process consumes from RabbitMQ; each is set up again on every new connection."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from osteon.bus.port import BusUnavailable
from osteon.bus.rabbit_deliveries import PUBLISH_TIMEOUT, RabbitDelivery, RabbitWorkDelivery
from osteon.bus.rabbit_messages import to_envelope
from osteon.bus.rabbit_queues import declare_rpc_queue, declare_work_queue
from osteon.bus.rabbit_session import AmqpSession, broker_errors
from osteon.bus.task_pool import TaskPool
from osteon.contracts.topology import EXCHANGE, Queue, RpcQueue

R = TypeVar("R", bound=RabbitDelivery)
Receive = Callable[[AbstractIncomingMessage], Awaitable[None]]
_EVENT_PREFETCH = 100
_EVENT_BACKLOG = 10_000


class Registration(Protocol):
    """Something that has to exist on every connection."""

    async def establish(self, session: AmqpSession) -> None:
        """Set it up; raises what aio-pika raises."""

    async def cancel(self) -> None:
        """Have the broker deliver no more."""

    def lost(self) -> None:
        """Note that the connection is gone."""


class DeclaredQueue:
    """A work queue that must exist."""

    def __init__(self, queue: Queue[Any], delays_ms: tuple[int, ...]) -> None:
        self.work = queue
        self._delays_ms = delays_ms

    async def establish(self, session: AmqpSession) -> None:
        """Declare it and its retry queues."""
        await declare_work_queue(session.publisher, self.work, self._delays_ms)

    async def cancel(self) -> None:
        """Nothing to do."""

    def lost(self) -> None:
        """Nothing to do: queues outlive connections."""


class Consumer(ABC, Generic[R]):
    """Deliveries that go into a pool's inbox, from a queue that a subclass makes.

    Messages that were delivered before are taken one at a time: one of them may have ended the process that had it,
    and then only its own deliveries must count towards the delivery limit, not those of the messages beside it.
    """

    one_at_first: ClassVar[bool] = True
    """Whether to take one message at a time until one comes that was not delivered before."""

    def __init__(self, pool: TaskPool[R], prefetch: int) -> None:
        self._pool = pool
        self._prefetch = prefetch
        self._queue: AbstractQueue | None = None
        self._tag = ""
        self._cancelled = False

    async def establish(self, session: AmqpSession) -> None:
        """Declare the queue and consume."""
        single = self.one_at_first
        channel = await session.channel(prefetch=1 if single else self._prefetch)
        queue = self._queue = await self.declare(channel)

        async def receive(message: AbstractIncomingMessage) -> None:
            nonlocal single
            self._pool.inbox.put_nowait(self.delivery(session, message))
            if single and not message.redelivered:
                single = False
                await self._raise_prefetch(session, channel, queue, receive)

        self._tag = await queue.consume(receive)

    async def _raise_prefetch(
        self, session: AmqpSession, channel: AbstractChannel, queue: AbstractQueue, receive: Receive
    ) -> None:
        """Consume again with the full prefetch, which counts for new consumers only."""
        try:
            with broker_errors("consume"):
                await queue.cancel(self._tag, timeout=PUBLISH_TIMEOUT)
                await channel.set_qos(prefetch_count=self._prefetch)
                if not self._cancelled:
                    self._tag = await queue.consume(receive)
        except BusUnavailable as error:
            session.fail(str(error))

    async def cancel(self) -> None:
        """Consume no more."""
        self._cancelled = True
        if self._queue is not None:
            with broker_errors("cancel consumer"):
                await self._queue.cancel(self._tag, timeout=PUBLISH_TIMEOUT)

    def lost(self) -> None:
        """Note that the connection is gone: what is in the inbox is stale now, and the workers skip it."""
        self._queue = None

    @abstractmethod
    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the queue."""

    @abstractmethod
    def delivery(self, session: AmqpSession, message: AbstractIncomingMessage) -> R:
        """Return the delivery for a message."""


class WorkConsumer(Consumer[RabbitWorkDelivery]):
    """Shares the messages of a work queue with other replicas."""

    def __init__(
        self, queue: Queue[Any], delays_ms: tuple[int, ...], pool: TaskPool[RabbitWorkDelivery], prefetch: int
    ) -> None:
        super().__init__(pool, prefetch)
        self.work = queue
        self._delays_ms = delays_ms

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the work queue and its retry queues."""
        return await declare_work_queue(channel, self.work, self._delays_ms)

    def delivery(self, session: AmqpSession, message: AbstractIncomingMessage) -> RabbitWorkDelivery:
        """Return a delivery that can be retried and parked."""
        return RabbitWorkDelivery(session, message, to_envelope(message), self.work.name, self._delays_ms)


class EventConsumer(Consumer[RabbitDelivery]):
    """Takes every event with a binding key, in a queue that lives as long as the connection."""

    one_at_first = False

    def __init__(self, key: str, pool: TaskPool[RabbitDelivery]) -> None:
        super().__init__(pool, _EVENT_PREFETCH)
        self._key = key

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the queue; a new name each time, since the broker may still hold the last for a dead connection."""
        queue = await channel.declare_queue(exclusive=True, arguments={"x-max-length": _EVENT_BACKLOG})
        await queue.bind(EXCHANGE, self._key)
        return queue

    def delivery(self, session: AmqpSession, message: AbstractIncomingMessage) -> RabbitDelivery:
        """Return the event."""
        return RabbitDelivery(session, message, to_envelope(message))


class RequestConsumer(Consumer[RabbitDelivery]):
    """Takes requests that this process serves."""

    def __init__(self, queue: RpcQueue[Any, Any], pool: TaskPool[RabbitDelivery], prefetch: int) -> None:
        super().__init__(pool, prefetch)
        self._rpc = queue

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the queue of requests."""
        return await declare_rpc_queue(channel, self._rpc)

    def delivery(self, session: AmqpSession, message: AbstractIncomingMessage) -> RabbitDelivery:
        """Return the request."""
        return RabbitDelivery(session, message, to_envelope(message))
