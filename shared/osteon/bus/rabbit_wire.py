"""Letters as AMQP messages, and the queues that carry them.

A quorum queue of a single node keeps what it confirmed over a kill -9, except in the first seconds after it was made:
Ra writes the directory of its queues to disk with some delay (seen on 3.10).
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from pamqp.common import FieldTable

from osteon.bus.wire import DeadLetter, History, Letter
from osteon.contracts.topology import (
    DEAD_EXCHANGE,
    DEAD_QUEUE,
    DELIVERY_LIMIT,
    EXCHANGE,
    Queue,
    RpcQueue,
    retry_queue,
)

_ATTEMPTS = "osteon-attempts"
_RETRIES = "osteon-retries"
_FIRST_ERROR = "osteon-first-error"
_LAST_ERROR = "osteon-last-error"
_PLACE = "osteon-place"
_REPLAYS = "osteon-replays"
_PUBLISHED = "osteon-published"
_REASON = "osteon-reason"
_QUEUE = "osteon-queue"
_NO_LIMIT = 2**31 - 1
_RPC_QUEUE_EXPIRES_MS = 300_000

# A message that moves between queues inside the broker must be confirmed by the next before the last forgets it.
# RabbitMQ does that only for queues that refuse messages when full instead of dropping the oldest.
QUORUM: FieldTable = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
_AT_LEAST_ONCE: FieldTable = {"x-dead-letter-strategy": "at-least-once"}


def to_message(letter: Letter, *, persistent: bool = True, **properties: Any) -> aio_pika.Message:
    """Return a letter as an AMQP message."""
    history = letter.history
    headers: dict[str, Any] = {}
    if history.retries:
        headers = {
            _ATTEMPTS: history.attempts,
            _RETRIES: history.retries,
            _FIRST_ERROR: history.first_error,
            _LAST_ERROR: history.last_error,
            _PLACE: history.place,
        }
    if history.replays:
        headers[_REPLAYS] = history.replays
    if letter.published is not None:
        headers[_PUBLISHED] = round(letter.published * 1e6)  # AMQP's float would be off by a minute
    mode = aio_pika.DeliveryMode.PERSISTENT if persistent else aio_pika.DeliveryMode.NOT_PERSISTENT
    defaults: dict[str, Any] = {"correlation_id": _short(letter.correlation_id), "message_id": _short(letter.id)}
    return aio_pika.Message(
        letter.body,
        content_type="application/json",
        type=letter.type,
        delivery_mode=mode,
        headers=headers,
        **(defaults | properties),
    )


def to_letter(message: AbstractIncomingMessage) -> Letter:
    """Return what came in; a message that Osteon did not make has an empty type and is parked later."""
    headers = message.headers
    history = History(
        _count(headers.get(_ATTEMPTS)),
        _count(headers.get(_RETRIES)),
        str(headers.get(_FIRST_ERROR, "")),
        str(headers.get(_LAST_ERROR, "")),
        str(headers.get(_PLACE, "")),
        _count(headers.get(_REPLAYS)),
    )
    # What Osteon did not send may have no identifier, and must be named all the same when it is parked.
    identifier = message.message_id or hashlib.sha256(message.body).hexdigest()[:32]
    published = headers.get(_PUBLISHED)
    return Letter(
        message.type or "",
        message.body,
        message.correlation_id or "",
        id=identifier,
        history=history,
        published=published / 1e6 if isinstance(published, int) else None,
    )


def to_dead_message(dead: DeadLetter) -> aio_pika.Message:
    """Return a parked letter, its reason in headers."""
    message = to_message(dead.letter, timestamp=dead.parked_at)
    message.headers |= {_REASON: dead.reason, _QUEUE: dead.queue}
    return message


def to_dead_letter(message: AbstractIncomingMessage) -> DeadLetter:
    """Read an entry of the dead-letter queue, whether Osteon parked it or the broker did (`x-death`)."""
    headers: dict[str, Any] = dict(message.headers)
    deaths = headers.get("x-death") or [{}]
    return DeadLetter(
        to_letter(message),
        queue=str(headers.get(_QUEUE) or deaths[0].get("queue", "")),
        reason=str(headers.get(_REASON) or deaths[0].get("reason", "unknown")),
        parked_at=message.timestamp or deaths[0].get("time") or datetime.now(UTC),
    )


def dead_queue_arguments() -> dict[str, FieldTable]:
    """Return the arguments of the dead-letter queue, by its name."""
    # Looking at it hands its messages out and takes them back, so the delivery limit that 4.x sets must not count.
    return {DEAD_QUEUE: QUORUM | {"x-delivery-limit": _NO_LIMIT}}


def work_queue_arguments(queue: Queue, delays_ms: Iterable[int]) -> dict[str, FieldTable]:
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


def rpc_queue_arguments(queue: RpcQueue) -> dict[str, FieldTable]:
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


async def declare_work_queue(channel: AbstractChannel, queue: Queue, delays_ms: tuple[int, ...]) -> AbstractQueue:
    """Make a work queue, bound to its routing key, and its retry queues."""
    await declare_dead_queue(channel)
    work, *_ = await declare_all(channel, work_queue_arguments(queue, delays_ms))
    await work.bind(EXCHANGE, queue.routing_key)
    return work


async def declare_rpc_queue(channel: AbstractChannel, queue: RpcQueue) -> AbstractQueue:
    """Make a queue of requests, which goes away when nobody has served it for minutes."""
    (found,) = await declare_all(channel, rpc_queue_arguments(queue))
    return found


def _short(text: str) -> str:
    """Cut to what an AMQP short string holds; the body keeps the whole."""
    return text.encode(errors="replace")[:255].decode(errors="ignore")


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
