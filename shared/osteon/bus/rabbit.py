"""The bus on RabbitMQ (3.10 and later): quorum queues, publisher confirms, retries by waiting queues, dead letters."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from yarl import URL

from osteon import metrics
from osteon.bus.port import BusUnavailable, TopologyDiffers, Unroutable
from osteon.bus.rabbit_consumers import (
    PUBLISH_TIMEOUT,
    Consumer,
    Declared,
    EventConsumer,
    Received,
    Registration,
    Replies,
    RequestConsumer,
    Work,
    WorkConsumer,
)
from osteon.bus.rabbit_counts import keep_counting
from osteon.bus.rabbit_dead import list_dead, replay_dead
from osteon.bus.rabbit_link import Link, broker_errors
from osteon.bus.rabbit_wire import to_message
from osteon.bus.rpc import Answerer
from osteon.bus.wire import DeadLetter, decode, describe, encode
from osteon.bus.worker import D, Listener, Pool, Worker, single
from osteon.contracts.base import Message
from osteon.contracts.topology import (
    EXCHANGE,
    RETRY_DELAYS_MS,
    Queue,
    RpcQueue,
    binding_key,
    needs_queue,
    routing_key,
)
from osteon.logging import get_logger

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message)
log = get_logger(__name__)
_RECONNECT_FIRST = 0.2
_RECONNECT_MOST = 10.0
_SETUP_TIMEOUT = 30.0
_PROBE_TIMEOUT = 3.0


class RabbitBus:
    """A connection that is opened again for ever, and what this process has declared and consumes on it."""

    def __init__(self, url: str, *, retry_delays_ms: Sequence[int] = RETRY_DELAYS_MS) -> None:
        self._url = url
        self._broker = f"{URL(url).host}:{URL(url).port or 5672}"
        self._delays = tuple(retry_delays_ms)
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._setup = asyncio.Lock()
        self._replies = Replies()
        self._registered: dict[Registration, asyncio.Event] = {self._replies: asyncio.Event()}
        self._pools: list[Pool[Any]] = []
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
        if self._link is None:
            raise BusUnavailable(f"no connection to RabbitMQ at {self._broker}: {self._problem}")
        await self._link.probe(_PROBE_TIMEOUT)

    async def declare(self, queue: Queue) -> None:
        """Make sure that `queue` exists."""
        await self._register(Declared(queue, self._delays))

    async def publish(self, message: Message) -> None:
        """Publish and return once confirmed; during an outage raises `BusUnavailable` after some seconds."""
        letter = encode(message)
        key = routing_key(message)
        result = "unavailable"
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._up.wait()
                await self._connected().publish(
                    to_message(letter),
                    exchange=EXCHANGE,
                    routing_key=key,
                    timeout=PUBLISH_TIMEOUT,
                    mandatory=needs_queue(message),
                )
            result = "confirmed"
        except TimeoutError:
            raise BusUnavailable(f"{letter.type} not published: no confirmation from {self._broker}") from None
        except Unroutable:
            result = "unroutable"
            raise
        finally:
            metrics.MESSAGES_PUBLISHED.labels(letter.type, result).inc()

    async def consume(self, queue: Queue, handler: Callable[[M], Awaitable[None]], *, concurrency: int = 1) -> None:
        """Handle the messages of a queue, `concurrency` at a time."""
        worker = Worker(queue.name, cast("type[M]", queue.message), single(handler))
        pool: Pool[Work] = self._pool(worker, tasks=concurrency)
        await self._register(WorkConsumer(queue, self._delays, pool, prefetch=concurrency))

    async def consume_batches(
        self, queue: Queue, handler: Callable[[Sequence[M]], Awaitable[None]], *, size: int, linger: float
    ) -> None:
        """Handle the messages of a queue in batches; the next batch gathers while one is worked on."""
        worker = Worker(queue.name, cast("type[M]", queue.message), handler)
        pool: Pool[Work] = self._pool(worker, tasks=1, size=size, linger=linger)
        await self._register(WorkConsumer(queue, self._delays, pool, prefetch=2 * size))

    async def subscribe(self, message: type[M], handler: Callable[[M], Awaitable[None]], *, address: str = "") -> None:
        """Call `handler` with every event of a type, in their order."""
        await self._register(
            EventConsumer(binding_key(message, address), self._pool(Listener(message, handler), tasks=1))
        )

    async def request(self, queue: RpcQueue, message: Message, *, timeout: float) -> Message:
        """Send a request and wait for its answer."""
        return decode(await self._replies.request(queue, message, timeout), queue.reply)

    async def serve(self, queue: RpcQueue, handler: Callable[[M], Awaitable[R]], *, concurrency: int = 8) -> None:
        """Answer requests, `concurrency` at a time."""
        pool = self._pool(Answerer(queue, handler, Received.reply), tasks=concurrency)
        await self._register(RequestConsumer(queue, pool, prefetch=concurrency))

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return parked messages, oldest first; they stay where they are."""
        return await list_dead(self._connected(), limit)

    async def replay(self, ids: Collection[str] | None = None) -> int:
        """Put parked messages (all, or those with these ids) back into their queues; returns how many."""
        return len((await replay_dead(self._connected(), ids)).done)

    def _connected(self) -> Link:
        if self._link is None:
            raise BusUnavailable(f"no connection to RabbitMQ at {self._broker}: {self._problem}")
        return self._link

    def _work_queues(self) -> list[str]:
        return [r.work.name for r in self._registered if isinstance(r, Declared | WorkConsumer)]

    def _pool(
        self, work: Callable[[Sequence[D]], Awaitable[None]], *, tasks: int, size: int = 1, linger: float = 0.0
    ) -> Pool[D]:
        pool: Pool[D] = Pool(work, tasks=tasks, size=size, linger=linger)
        self._pools.append(pool)
        return pool

    async def _register(self, registration: Registration) -> None:
        """Set something up now, or on the next connection when that fails, and on every later one."""
        established = asyncio.Event()
        async with self._setup:
            self._registered[registration] = established
            if self._link is not None:
                await self._establish(self._link, registration, established)
        await established.wait()

    async def _establish(self, link: Link, registration: Registration, established: asyncio.Event) -> None:
        try:
            with broker_errors(f"set up {type(registration).__name__}"):
                async with asyncio.timeout(_SETUP_TIMEOUT):
                    await registration.establish(link)
            established.set()
        except BusUnavailable as error:
            link.fail(str(error))

    async def _stay_connected(self) -> None:
        pause = _RECONNECT_FIRST
        while True:
            try:
                async with self._connection() as link:
                    pause = _RECONNECT_FIRST
                    await link.closed.wait()
                    self._problem = link.reason
            except TopologyDiffers as error:
                self._problem = str(error)
                log.error("nothing works until a queue is put right", problem=self._problem)
            except BusUnavailable as error:
                self._problem = str(error)
            except Exception as error:
                self._problem = describe(error)
                log.exception("unexpected failure of the broker connection")
                if self._task is not None and self._task.cancelling():
                    raise  # it took the place of the CancelledError of `close`, which waits for the end
            log.warning("no connection to RabbitMQ, trying again", broker=self._broker, problem=self._problem,
                        seconds=round(pause, 1))  # fmt: skip
            # Replicas that lost the same broker must not all come back in the same instant.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (not a secret)
            pause = min(pause * 2, _RECONNECT_MOST)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Link]:
        """Open a link with everything that is registered on it; the bus is up inside."""
        link = await Link.open(self._url)
        counting: asyncio.Task[None] | None = None
        try:
            async with self._setup:
                for registration, established in self._registered.items():
                    await self._establish(link, registration, established)
                    if link.closed.is_set():
                        raise BusUnavailable(link.reason)
                self._link = link
                self._up.set()
            log.info("connected to RabbitMQ", broker=self._broker)
            counting = asyncio.create_task(keep_counting(link, self._work_queues))
            yield link
        finally:
            self._link = None
            self._up.clear()
            for registration in self._registered:
                registration.lost()
            await link.close()
            if counting is not None:
                await counting
