"""The bus of one process. It keeps nothing over a crash: the spool publishes again what was not indexed."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from osteon import metrics
from osteon.bus.envelope import DeadLetter, Envelope, encode, reset_for_replay
from osteon.bus.port import BusUnavailable, RequestTimeout, Unroutable
from osteon.bus.rpc import RequestHandler, decode_reply
from osteon.bus.task_pool import TaskPool
from osteon.bus.worker import Delivery, EventListener, WorkDelivery, Worker, one_by_one
from osteon.contracts.base import Message
from osteon.contracts.topology import (
    DEAD_QUEUE,
    RETRY_DELAYS_MS,
    Queue,
    RpcQueue,
    binding_key,
    needs_queue,
    routing_key,
)

M = TypeVar("M", bound=Message)
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
_BACKLOG = 100_000
"""Messages that a queue holds at most; a message is about 1 KB."""
_EVENT_BACKLOG = 10_000


class MemoryBus:
    """Every message is turned into JSON and back, so that what works here works with a broker."""

    def __init__(self, *, retry_delays_ms: Sequence[int] = RETRY_DELAYS_MS, backlog: int = _BACKLOG) -> None:
        self._delays = [delay / 1000 for delay in retry_delays_ms]
        self._backlog = backlog
        self._queues: dict[str, _WorkQueue] = {}
        self._subscribers: dict[type[Message], list[tuple[str, TaskPool[Delivery]]]] = {}
        self._servers: dict[str, TaskPool[_Request]] = {}
        self._pools: list[TaskPool[Any]] = []
        self._dead: list[DeadLetter] = []
        self._running = False

    async def start(self) -> None:
        """Nothing to connect to."""
        self._running = True

    async def close(self, *, grace: float = 10.0) -> None:
        """Stop taking deliveries and let handlers in flight finish for `grace` seconds; they may still publish."""
        for queue in self._queues.values():
            queue.cancel_retries()
        await asyncio.gather(*(pool.stop(grace) for pool in self._pools))
        self._running = False

    async def check(self) -> None:
        """Raise `BusUnavailable` unless started."""
        if not self._running:
            raise BusUnavailable("the in-memory bus is not started")

    async def declare(self, queue: Queue[Any]) -> None:
        """Make the queue."""
        self._queue(queue)

    async def publish(self, message: Message) -> None:
        """Put the message into every queue that takes it; raises `BusUnavailable` when one of them is full."""
        await self.check()
        envelope = encode(message)
        key = routing_key(message)
        queues = [queue for queue in self._queues.values() if queue.routing_key == key]
        if not queues and needs_queue(message):
            metrics.MESSAGES_PUBLISHED.labels(envelope.type, "unroutable").inc()
            raise Unroutable(f"no queue for {envelope.type} with routing key {key}")
        full = [queue.name for queue in queues if queue.size >= self._backlog]
        if full:
            metrics.MESSAGES_PUBLISHED.labels(envelope.type, "unavailable").inc()
            raise BusUnavailable(f"queue {full[0]} holds {self._backlog} messages")
        for queue in queues:
            queue.put(envelope)
        for prefix, pool in self._subscribers.get(type(message), []):
            if not key.startswith(prefix):
                continue
            if pool.inbox.qsize() >= _EVENT_BACKLOG:
                pool.inbox.get_nowait()
            pool.inbox.put_nowait(_Delivered(envelope))
        metrics.MESSAGES_PUBLISHED.labels(envelope.type, "confirmed").inc()
        # Give way like a publish that waits for a broker, so that a loop of publishes does not starve consumers.
        await asyncio.sleep(0)

    async def consume(self, queue: Queue[M], handler: Callable[[M], Awaitable[None]], *, concurrency: int = 1) -> None:
        """Handle the messages of a queue, `concurrency` at a time."""
        worker = Worker(queue.name, queue.message, one_by_one(handler))
        self._pools.append(TaskPool(worker, tasks=concurrency, inbox=self._queue(queue).inbox))

    async def consume_batches(
        self, queue: Queue[M], handler: Callable[[Sequence[M]], Awaitable[None]], *, size: int, linger: float
    ) -> None:
        """Handle the messages of a queue in batches."""
        worker = Worker(queue.name, queue.message, handler)
        self._pools.append(TaskPool(worker, tasks=1, inbox=self._queue(queue).inbox, size=size, linger=linger))

    async def subscribe(self, message: type[M], handler: Callable[[M], Awaitable[None]], *, address: str = "") -> None:
        """Call `handler` with every event of a type, in their order."""
        prefix = binding_key(message, address).removesuffix("#")
        pool = TaskPool(EventListener(message, handler), tasks=1)
        self._pools.append(pool)
        self._subscribers.setdefault(message, []).append((prefix, pool))

    async def request(self, queue: RpcQueue[Q, R], message: Q, *, timeout: float) -> R:
        """Hand the request to the handler in this process and return its reply."""
        pool = self._servers.get(queue.name)
        if pool is None:
            raise Unroutable(f"{queue.name} is not served")
        request = _Request(encode(message))
        pool.inbox.put_nowait(request)
        try:
            async with asyncio.timeout(timeout):
                return decode_reply(await request.reply, queue.reply)
        except TimeoutError:
            raise RequestTimeout(f"no reply from {queue.name} within {timeout:g} s") from None

    async def serve(self, queue: RpcQueue[Q, R], handler: Callable[[Q], Awaitable[R]], *, concurrency: int = 8) -> None:
        """Reply to the requests of this process."""
        pool = TaskPool(RequestHandler(queue, handler, _send_reply), tasks=concurrency)
        self._pools.append(pool)
        self._servers[queue.name] = pool

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return parked messages, oldest first."""
        return self._dead[:limit]

    async def replay(self, ids: Collection[str] | None = None) -> int:
        """Put parked messages (all, or those with these ids) back into their queues; return how many."""
        chosen = [dead for dead in self._dead if ids is None or dead.envelope.id in ids]
        for dead in chosen:
            self._queues[dead.queue].put(reset_for_replay(dead.envelope))
            self._dead.remove(dead)
        metrics.QUEUE_MESSAGES.labels(DEAD_QUEUE).set(len(self._dead))
        return len(chosen)

    def _queue(self, queue: Queue[Any]) -> "_WorkQueue":
        if queue.name not in self._queues:
            made = self._queues[queue.name] = _WorkQueue(queue.name, queue.routing_key, self._delays, self._dead)
            metrics.QUEUE_MESSAGES.labels(queue.name).set_function(lambda: made.size)
        return self._queues[queue.name]


class _WorkQueue:
    """Messages that wait for a consumer, or for their next attempt."""

    def __init__(self, name: str, key: str, delays: Sequence[float], dead: list[DeadLetter]) -> None:
        self.name = name
        self.routing_key = key
        self.inbox: asyncio.Queue[WorkDelivery] = asyncio.Queue()
        self.dead = dead
        self._delays = delays
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def size(self) -> int:
        return self.inbox.qsize() + len(self._timers)

    def put(self, envelope: Envelope) -> None:
        self.inbox.put_nowait(_Work(envelope, queue=self))

    def put_later(self, envelope: Envelope, step: int) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self.put(envelope)

        delay = self._delays[min(step, len(self._delays) - 1)]
        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)

    def cancel_retries(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


@dataclass(frozen=True, slots=True)
class _Delivered:
    """A delivery that needs no settling."""

    envelope: Envelope
    stale: bool = False

    async def ack(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class _Work(_Delivered):
    queue: _WorkQueue = field(kw_only=True)

    async def retry(self, envelope: Envelope, step: int) -> None:
        self.queue.put_later(envelope, step)

    async def park(self, dead: DeadLetter) -> None:
        self.queue.dead.append(dead)
        metrics.QUEUE_MESSAGES.labels(DEAD_QUEUE).set(len(self.queue.dead))


@dataclass(frozen=True, slots=True)
class _Request(_Delivered):
    reply: asyncio.Future[Envelope] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


async def _send_reply(request: _Request, reply: Envelope) -> None:
    if not request.reply.done():
        request.reply.set_result(reply)
