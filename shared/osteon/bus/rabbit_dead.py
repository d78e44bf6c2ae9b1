"""Looking into the dead-letter queue, and putting its messages back to work."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from osteon.bus.rabbit_link import Link, broker_errors
from osteon.bus.rabbit_wire import declare_dead_queue, to_dead_letter, to_message
from osteon.bus.wire import DeadLetter, History

_TIMEOUT = 10.0
_MOST = 10_000
"""Messages that one replay takes into memory; there are more than that only after a bad deploy."""


async def list_dead(link: Link, limit: int) -> list[DeadLetter]:
    """Return parked messages, oldest first, and put them back."""
    with broker_errors("read the dead-letter queue"):
        async with link.passing_channel() as channel:
            queue = await declare_dead_queue(channel)
            messages = await _take(queue, limit)
            await _put_back(queue, messages)
            return [to_dead_letter(message) for message in messages]


async def replay_dead(link: Link, ids: Collection[str] | None) -> int:
    """Publish parked messages to the queues that they came from; each is confirmed before it is forgotten here.

    What is parked again meanwhile is not taken a second time: all are taken before the first is published.
    """
    with broker_errors("replay the dead-letter queue"):
        async with link.passing_channel() as channel:
            queue = await declare_dead_queue(channel)
            rest, replayed = [], 0
            for message in await _take(queue, _MOST):
                dead = to_dead_letter(message)
                if ids is not None and dead.letter.id not in ids:
                    rest.append(message)
                    continue
                fresh = to_message(replace(dead.letter, history=History()))
                await link.publish(fresh, exchange="", routing_key=dead.queue, timeout=_TIMEOUT)
                await message.ack()
                replayed += 1
            await _put_back(queue, rest)
    return replayed


async def _take(queue: AbstractQueue, limit: int) -> list[AbstractIncomingMessage]:
    taken: list[AbstractIncomingMessage] = []
    while len(taken) < limit:
        message = await queue.get(fail=False, timeout=_TIMEOUT)
        if message is None:
            break
        taken.append(message)
    return taken


async def _put_back(queue: AbstractQueue, messages: Sequence[AbstractIncomingMessage]) -> None:
    """Return messages, and wait until whoever looks next can see them; the broker takes a moment for it."""
    for message in messages:
        await message.nack(requeue=True)
    for _ in range(100):
        if ((await queue.declare()).message_count or 0) >= len(messages):
            return
        await asyncio.sleep(0.02)
