"""The queues that carry messages on RabbitMQ, and their arguments.

A quorum queue of a single node keeps what it confirmed over a kill -9, except in the first seconds after it was made:
Ra writes the directory of its queues to disk with some delay (seen on 3.10).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractQueue
from pamqp.common import FieldTable

from osteon.contracts.topology import (
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    DELIVERY_LIMIT,
    EXCHANGE,
    Queue,
    RpcQueue,
    retry_queue,
)

_NO_LIMIT = 2**31 - 1
_RPC_QUEUE_EXPIRES_MS = 300_000

# A message that moves between queues inside the broker must be confirmed by the next before the last forgets it.
# RabbitMQ does that only for queues that refuse messages when full instead of dropping the oldest.
QUORUM: FieldTable = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
_AT_LEAST_ONCE: FieldTable = {"x-dead-letter-strategy": "at-least-once"}


def dead_queue_arguments() -> dict[str, FieldTable]:
    """Return the arguments of the dead-letter queue, by its name."""
    # Listing it delivers its messages and takes them back, so the delivery limit that 4.x sets must not count.
    return {DEAD_QUEUE: QUORUM | {"x-delivery-limit": _NO_LIMIT}}


def work_queue_arguments(queue: Queue[Any], delays_ms: Iterable[int]) -> dict[str, FieldTable]:
    """Return the arguments of a work queue, which comes first, and of its retry queues, by their names."""
    limits: FieldTable = {"x-dead-letter-exchange": DEAD_EXCHANGE, "x-delivery-limit": DELIVERY_LIMIT}
    found = {queue.name: QUORUM | _AT_LEAST_ONCE | limits}
    for delay in delays_ms:
        back: FieldTable = {
            "x-message-ttl": delay,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue.name,
        }
        found[retry_queue(queue.name, delay)] = QUORUM | _AT_LEAST_ONCE | back
    return found


def rpc_queue_arguments(queue: RpcQueue[Any, Any]) -> dict[str, FieldTable]:
    """Return the arguments of a queue of requests, by its name."""
    return {queue.name: {"x-expires": _RPC_QUEUE_EXPIRES_MS}}


async def declare_all(channel: AbstractChannel, queues: Mapping[str, FieldTable]) -> list[AbstractQueue]:
    """Make queues, durable all of them: transient shared queues are deprecated in RabbitMQ 4."""
    return [await channel.declare_queue(name, durable=True, arguments=each) for name, each in queues.items()]


async def declare_dead_queue(channel: AbstractChannel) -> AbstractQueue:
    """Make the dead-letter queue."""
    (queue,) = await declare_all(channel, dead_queue_arguments())
    await queue.bind(DEAD_EXCHANGE)
    return queue


async def declare_work_queue(channel: AbstractChannel, queue: Queue[Any], delays_ms: tuple[int, ...]) -> AbstractQueue:
    """Make a work queue, bound to its routing key, and its retry queues."""
    await declare_dead_queue(channel)
    work, *_ = await declare_all(channel, work_queue_arguments(queue, delays_ms))
    await work.bind(EXCHANGE, queue.routing_key)
    return work


async def declare_rpc_queue(channel: AbstractChannel, queue: RpcQueue[Any, Any]) -> AbstractQueue:
    """Make a queue of requests, which expires when it has not been served for minutes."""
    (found,) = await declare_all(channel, rpc_queue_arguments(queue))
    return found
