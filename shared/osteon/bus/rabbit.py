"""The bus on RabbitMQ (3.10 and later): quorum queues, publisher confirms, retries by waiting queues, dead letters."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from yarl import URL

from osteon import metrics
from osteon.backoff import retry_forever
from osteon.bus.envelope import DeadLetter, describe, encode
from osteon.bus.port import BusUnavailable, TopologyDiffers, Unroutable
from osteon.bus.queue_depth import track_queue_depths
from osteon.bus.rabbit_consumers import (
    Consumer,
    DeclaredQueue,
    EventConsumer,
    Registration,
    RequestConsumer,
    WorkConsumer,
)
from osteon.bus.rabbit_dead_letters import list_dead, replay_dead
from osteon.bus.rabbit_deliveries import PUBLISH_TIMEOUT, RabbitDelivery, RabbitWorkDelivery
from osteon.bus.rabbit_messages import to_message
from osteon.bus.rabbit_replies import ReplyReceiver
from osteon.bus.rabbit_session import AmqpSession, broker_errors
from osteon.bus.rpc import RequestHandler, decode_reply
from osteon.bus.task_pool import T, TaskPool
from osteon.bus.worker import EventListener, Worker, one_by_one
from osteon.contracts.base import Message
from osteon.contracts.topology import EXCHANGE, RETRY_DELAYS_MS, Queue, RpcQueue, binding_key, needs_queue, routing_key
from osteon.logging import get_logger

M = TypeVar("M", bound=Message)
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)
log = get_logger(__name__)
_RECONNECT_FIRST: Final = 0.2
_RECONNECT_LONGEST: Final = 10.0
_SETUP_TIMEOUT: Final = 30.0
_PROBE_TIMEOUT: Final = 3.0


class RabbitBus:
    """A session that is opened again forever, and what this process has declared and consumes in it."""

    def __init__(self, url: str, *, retry_delays_ms: Sequence[int] = RETRY_DELAYS_MS) -> None:
        self._url = url
        self._broker = f"{URL(url).host}:{URL(url).port or 5672}"
        self._delays = tuple(retry_delays_ms)
        self._session: AmqpSession | None = None
        self._up = asyncio.Event()
        self._setup = asyncio.Lock()
        self._replies = ReplyReceiver()
        self._registered: dict[Registration, asyncio.Event] = {self._replies: asyncio.Event()}
        self._pools: list[TaskPool[Any]] = []
        self._task: asyncio.Task[None] | None = None
        self._problem = "not started"

    async def start(self) -> None:
        """Connect; tries for as long as it takes, and logs why it does not work."""
        self._task = asyncio.create_task(self._stay_connected())
        await self._up.wait()

    async def close(self, *, grace: float = 10.0) -> None:
        """Stop taking deliveries, let handlers in flight finish for `grace` seconds, and disconnect."""
        async with self._setup:
            consumers = [r for r in self._registered if isinstance(r, Consumer)]
            for consumer in consumers:
                del self._registered[consumer]
        # A failed cancel means a lost connection, and then nothing is delivered either.
        await asyncio.gather(*(consumer.cancel() for consumer in consumers), return_exceptions=True)
        await asyncio.gather(*(pool.stop(grace) for pool in self._pools))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def check(self) -> None:
        """Raise `BusUnavailable` when the broker does not answer now."""
        if self._session is None:
            raise BusUnavailable(f"no connection to RabbitMQ at {self._broker}: {self._problem}")
        await self._session.probe(_PROBE_TIMEOUT)

    async def declare(self, queue: Queue[Any]) -> None:
        """Make sure that `queue` exists."""
        await self._register(DeclaredQueue(queue, self._delays))

    async def publish(self, message: Message) -> None:
        """Publish and return once confirmed; during an outage raises `BusUnavailable` after some seconds."""
        envelope = encode(message)
        key = routing_key(message)
        result = "unavailable"
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._up.wait()
                await self._connected().publish(
                    to_message(envelope),
                    exchange=EXCHANGE,
                    routing_key=key,
                    timeout=PUBLISH_TIMEOUT,
                    mandatory=needs_queue(message),
                )
            result = "confirmed"
        except TimeoutError:
            raise BusUnavailable(f"{envelope.type} not published: no confirmation from {self._broker}") from None
        except Unroutable:
            result = "unroutable"
            raise
        finally:
            metrics.MESSAGES_PUBLISHED.labels(envelope.type, result).inc()

    async def consume(self, queue: Queue[M], handler: Callable[[M], Awaitable[None]], *, concurrency: int = 1) -> None:
        """Handle the messages of a queue, `concurrency` at a time."""
        worker = Worker(queue.name, queue.message, one_by_one(handler))
        pool: TaskPool[RabbitWorkDelivery] = self._pool(worker, tasks=concurrency)
        await self._register(WorkConsumer(queue, self._delays, pool, prefetch=concurrency))

    async def consume_batches(
        self, queue: Queue[M], handler: Callable[[Sequence[M]], Awaitable[None]], *, size: int, linger: float
    ) -> None:
        """Handle the messages of a queue in batches; the next batch gathers while one is worked on."""
        worker = Worker(queue.name, queue.message, handler)
        pool: TaskPool[RabbitWorkDelivery] = self._pool(worker, tasks=1, size=size, linger=linger)
        await self._register(WorkConsumer(queue, self._delays, pool, prefetch=2 * size))

    async def subscribe(self, message: type[M], handler: Callable[[M], Awaitable[None]], *, address: str = "") -> None:
        """Call `handler` with every event of a type, in their order."""
        await self._register(
            EventConsumer(binding_key(message, address), self._pool(EventListener(message, handler), tasks=1))
        )

    async def request(self, queue: RpcQueue[Q, R], message: Q, *, timeout: float) -> R:
        """Send a request and return its reply."""
        return decode_reply(await self._replies.request(queue.name, message, timeout), queue.reply)

    async def serve(self, queue: RpcQueue[Q, R], handler: Callable[[Q], Awaitable[R]], *, concurrency: int = 8) -> None:
        """Reply to requests, `concurrency` at a time."""
        pool = self._pool(RequestHandler(queue, handler, RabbitDelivery.send_reply), tasks=concurrency)
        await self._register(RequestConsumer(queue, pool, prefetch=concurrency))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return parked messages, oldest first; they stay where they are."""
        return await list_dead(self._connected(), limit)

    async def replay(self, ids: Collection[str] | None = None) -> int:
        """Put parked messages (all, or those with these ids) back into their queues; return how many."""
        return len((await replay_dead(self._connected(), ids)).done)

    def _connected(self) -> AmqpSession:
        if self._session is None:
            raise BusUnavailable(f"no connection to RabbitMQ at {self._broker}: {self._problem}")
        return self._session

    def _work_queues(self) -> list[str]:
        return [r.work.name for r in self._registered if isinstance(r, DeclaredQueue | WorkConsumer)]

    def _pool(
        self, work: Callable[[Sequence[T]], Awaitable[None]], *, tasks: int, size: int = 1, linger: float = 0.0
    ) -> TaskPool[T]:
        pool: TaskPool[T] = TaskPool(work, tasks=tasks, size=size, linger=linger)
        self._pools.append(pool)
        return pool

    async def _register(self, registration: Registration) -> None:
        """Set something up now, or on the next connection when that fails, and on every later one."""
        established = asyncio.Event()
        async with self._setup:
            self._registered[registration] = established
            if self._session is not None:
                await self._establish(self._session, registration, established)
        await established.wait()

    async def _establish(self, session: AmqpSession, registration: Registration, established: asyncio.Event) -> None:
        try:
            with broker_errors(f"set up {type(registration).__name__}"):
                async with asyncio.timeout(_SETUP_TIMEOUT):
                    await registration.establish(session)
            established.set()
        except BusUnavailable as error:
            session.fail(str(error))

    async def _stay_connected(self) -> None:
        while True:
            async for attempt in retry_forever(self._is_retryable, first=_RECONNECT_FIRST, longest=_RECONNECT_LONGEST):
                with attempt:
                    await self._hold_session(attempt.next_wait)
            # Replicas that lost the same broker must not all come back in the same instant.
            await asyncio.sleep(_RECONNECT_FIRST * random.uniform(0.5, 1.0))  # noqa: S311  (not a secret)

    def _is_retryable(self, _: Exception) -> bool:
        # While `close` waits for the end, an error has taken the place of its CancelledError.
        return self._task is None or not self._task.cancelling()

    async def _hold_session(self, next_wait: float) -> None:
        """Open a session and return when it has ended; raises why it could not be opened."""
        try:
            async with self._open_session() as session:
                await session.closed.wait()
                self._problem = session.reason
            log.warning("connection to RabbitMQ lost, reconnecting", broker=self._broker, problem=self._problem)
        except Exception as error:
            self._problem = str(error) if isinstance(error, BusUnavailable) else describe(error)
            if isinstance(error, TopologyDiffers):
                log.error("queue has other properties than expected, nothing works until it is deleted",
                          problem=self._problem)  # fmt: skip
            elif not isinstance(error, BusUnavailable):
                log.exception("unexpected failure of the broker connection")
            log.warning("no connection to RabbitMQ, retrying", broker=self._broker, problem=self._problem,
                        seconds=round(next_wait, 1))  # fmt: skip
            raise

    @asynccontextmanager
    async def _open_session(self) -> AsyncIterator[AmqpSession]:
        """Open a session with everything that is registered in it; the bus is up inside."""
        session = await AmqpSession.open(self._url)
        depths: asyncio.Task[None] | None = None
        try:
            async with self._setup:
                for registration, established in self._registered.items():
                    await self._establish(session, registration, established)
                    if session.closed.is_set():
                        raise BusUnavailable(session.reason)
                self._session = session
                self._up.set()
            log.info("connected to RabbitMQ", broker=self._broker)
            depths = asyncio.create_task(track_queue_depths(session, self._work_queues))
            yield session
        finally:
            self._session = None
            self._up.clear()
            for registration in self._registered:
                registration.lost()
            await session.close()
            if depths is not None:
                await depths
