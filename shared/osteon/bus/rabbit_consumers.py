"""What a process takes from RabbitMQ; each of these is set up again on every new connection."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from osteon.bus.port import BusUnavailable, RequestTimeout
from osteon.bus.rabbit_link import Link, broker_errors
from osteon.bus.rabbit_wire import (
    declare_rpc_queue,
    declare_work_queue,
    to_dead_message,
    to_letter,
    to_message,
)
from osteon.bus.wire import DeadLetter, Letter, encode
from osteon.bus.worker import Pool
from osteon.contracts.base import Message
from osteon.contracts.topology import DEAD_EXCHANGE, EXCHANGE, REPLY_TO, Queue, RpcQueue, retry_queue

R = TypeVar("R", bound="Received")
Receive = Callable[[AbstractIncomingMessage], Awaitable[None]]
PUBLISH_TIMEOUT = 5.0
_EVENT_PREFETCH = 100
_EVENT_BACKLOG = 10_000


class Registration(Protocol):
    """Something that has to exist on every connection."""

    async def establish(self, link: Link) -> None:
        """Set it up; raises what aio-pika raises."""

    async def cancel(self) -> None:
        """Have the broker deliver no more."""

    def lost(self) -> None:
        """Learn that the connection is gone."""


class Declared:
    """A work queue that exists."""

    def __init__(self, queue: Queue, delays_ms: tuple[int, ...]) -> None:
        self.work = queue
        self._delays_ms = delays_ms

    async def establish(self, link: Link) -> None:
        """Declare it and its retry queues."""
        await declare_work_queue(link.publisher, self.work, self._delays_ms)

    async def cancel(self) -> None:
        """Nothing is delivered."""

    def lost(self) -> None:
        """Queues outlive connections."""


class Consumer(ABC, Generic[R]):
    """Deliveries that go into a pool's inbox, from a queue that a subclass makes.

    Messages that were delivered before are taken one at a time: one of them may have ended the process that had it,
    and then only its own deliveries must count towards the delivery limit, not those of the messages beside it.
    """

    careful: ClassVar[bool] = True
    """Whether to begin with one message at a time."""

    def __init__(self, pool: Pool[R], prefetch: int) -> None:
        self._pool = pool
        self._prefetch = prefetch
        self._queue: AbstractQueue | None = None
        self._tag = ""
        self._cancelled = False

    async def establish(self, link: Link) -> None:
        """Declare the queue and consume."""
        careful = self.careful
        channel = await link.channel(prefetch=1 if careful else self._prefetch)
        queue = self._queue = await self.declare(channel)

        async def receive(message: AbstractIncomingMessage) -> None:
            nonlocal careful
            self._pool.inbox.put_nowait(self.delivery(link, message))
            if careful and not message.redelivered:
                careful = False
                await self._hurry(link, channel, queue, receive)

        self._tag = await queue.consume(receive)

    async def _hurry(self, link: Link, channel: AbstractChannel, queue: AbstractQueue, receive: Receive) -> None:
        """Consume again with the full prefetch, which counts for new consumers only."""
        try:
            with broker_errors("consume"):
                await queue.cancel(self._tag, timeout=PUBLISH_TIMEOUT)
                await channel.set_qos(prefetch_count=self._prefetch)
                if not self._cancelled:
                    self._tag = await queue.consume(receive)
        except BusUnavailable as error:
            link.fail(str(error))

    async def cancel(self) -> None:
        """Consume no more."""
        self._cancelled = True
        if self._queue is not None:
            with broker_errors("cancel consumer"):
                await self._queue.cancel(self._tag, timeout=PUBLISH_TIMEOUT)

    def lost(self) -> None:
        """What is in the inbox is stale now; the workers skip it."""
        self._queue = None

    @abstractmethod
    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the queue."""

    @abstractmethod
    def delivery(self, link: Link, message: AbstractIncomingMessage) -> R:
        """Return the delivery for a message."""


class WorkConsumer(Consumer["Work"]):
    """Shares the messages of a work queue with other replicas."""

    def __init__(self, queue: Queue, delays_ms: tuple[int, ...], pool: "Pool[Work]", prefetch: int) -> None:
        super().__init__(pool, prefetch)
        self.work = queue
        self._delays_ms = delays_ms

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the work queue and its retry queues."""
        return await declare_work_queue(channel, self.work, self._delays_ms)

    def delivery(self, link: Link, message: AbstractIncomingMessage) -> "Work":
        """Return a delivery that can be retried and parked."""
        return Work(link, message, to_letter(message), self.work.name, self._delays_ms)


class EventConsumer(Consumer["Received"]):
    """Takes every event with a binding key, in a queue that lives as long as the connection."""

    careful = False

    def __init__(self, key: str, pool: "Pool[Received]") -> None:
        super().__init__(pool, _EVENT_PREFETCH)
        self._key = key

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the queue; a new name each time, since the broker may still hold the last for a dead connection."""
        queue = await channel.declare_queue(exclusive=True, arguments={"x-max-length": _EVENT_BACKLOG})
        await queue.bind(EXCHANGE, self._key)
        return queue

    def delivery(self, link: Link, message: AbstractIncomingMessage) -> "Received":
        """Return the event."""
        return Received(link, message, to_letter(message))


class RequestConsumer(Consumer["Received"]):
    """Takes requests that this process answers."""

    def __init__(self, queue: RpcQueue, pool: "Pool[Received]", prefetch: int) -> None:
        super().__init__(pool, prefetch)
        self._rpc = queue

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Make the queue of requests."""
        return await declare_rpc_queue(channel, self._rpc)

    def delivery(self, link: Link, message: AbstractIncomingMessage) -> "Received":
        """Return the request."""
        return Received(link, message, to_letter(message))


class Replies:
    """The requesting side: sends requests and gives each answer to the one who waits for it."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._channel: AbstractChannel | None = None
        self._waiting: dict[str, asyncio.Future[Letter]] = {}

    async def establish(self, link: Link) -> None:
        """Consume the pseudo-queue of direct replies; requests must use the same channel."""
        channel = await link.channel()
        replies = await channel.get_queue(REPLY_TO, ensure=False)
        await replies.consume(self._receive, no_ack=True)
        self._link, self._channel = link, channel

    async def cancel(self) -> None:
        """Handlers that finish may still wait for an answer."""

    def lost(self) -> None:
        """No answer can come any more: tell those who wait at once."""
        self._link = self._channel = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BusUnavailable("the connection was lost before the answer came"))

    async def request(self, queue: RpcQueue, message: Message, timeout: float) -> Letter:
        """Send a request and wait for its answer; raises `RequestTimeout` or `BusUnavailable`."""
        if self._link is None:
            raise BusUnavailable(f"{queue.name} can not be asked: no connection to RabbitMQ")
        letter = encode(message)
        future: asyncio.Future[Letter] = asyncio.get_running_loop().create_future()
        self._waiting[letter.id] = future
        request = to_message(letter, persistent=False, reply_to=REPLY_TO, expiration=timeout)
        try:
            async with asyncio.timeout(timeout):
                await self._link.publish(
                    request, exchange="", routing_key=queue.name, timeout=timeout, channel=self._channel
                )
                return await future
        except TimeoutError:
            raise RequestTimeout(f"no answer from {queue.name} within {timeout:g} s") from None
        finally:
            del self._waiting[letter.id]
            future.cancel()

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        future = self._waiting.get(message.correlation_id or "")
        if future is not None and not future.done():
            future.set_result(to_letter(message))


@dataclass(frozen=True, slots=True)
class Received:
    """A delivery of an event or a request, which is never tried again."""

    link: Link
    message: AbstractIncomingMessage
    letter: Letter

    @property
    def stale(self) -> bool:
        """Whether the connection that it came by is gone."""
        return self.link.closed.is_set()

    async def ack(self) -> None:
        """Acknowledge."""
        with broker_errors("ack"):
            await self.message.ack()

    async def reply(self, answer: Letter) -> None:
        """Send the answer of a request; nobody waits any more when it can not be routed."""
        message = to_message(answer, persistent=False, correlation_id=self.letter.id)
        to = self.message.reply_to or ""
        await self.link.publish(message, exchange="", routing_key=to, timeout=PUBLISH_TIMEOUT, mandatory=False)


@dataclass(frozen=True, slots=True)
class Work(Received):
    """A delivery from a work queue. Its successor is confirmed before it is acknowledged, so nothing is lost."""

    queue: str
    delays_ms: tuple[int, ...]

    async def retry(self, letter: Letter, step: int) -> None:
        """Let it wait in a retry queue, from where it comes back by itself."""
        delay = self.delays_ms[min(step, len(self.delays_ms) - 1)]
        await self._replace(to_message(letter), "", retry_queue(self.queue, delay))

    async def park(self, dead: DeadLetter) -> None:
        """Put it into the dead-letter queue."""
        await self._replace(to_dead_message(dead), DEAD_EXCHANGE, self.queue)

    async def _replace(self, message: aio_pika.Message, exchange: str, key: str) -> None:
        await self.link.publish(message, exchange=exchange, routing_key=key, timeout=PUBLISH_TIMEOUT)
        await self.ack()
