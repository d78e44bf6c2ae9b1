"""List the dead-letter queue, and replay its messages."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from osteon.bus.envelope import DeadLetter, reset_for_replay
from osteon.bus.port import Unroutable
from osteon.bus.rabbit_messages import to_dead_letter, to_message
from osteon.bus.rabbit_queues import declare_dead_queue
from osteon.bus.rabbit_session import AmqpSession, broker_errors

_TIMEOUT = 10.0
_MAX_MESSAGES = 10_000
"""Messages that one listing takes into memory; `DlqLimit` keeps their number far below."""


@dataclass(slots=True)
class ReplayReport:
    """What became of the messages that were to be replayed, by their identifiers."""

    done: list[str] = field(default_factory=list)
    queue_missing: list[str] = field(default_factory=list)
    """Their queue does not exist; they stay parked."""


async def list_dead(session: AmqpSession, limit: int = _MAX_MESSAGES) -> list[DeadLetter]:
    """Return parked messages, oldest first, and put them back."""
    with broker_errors("read the dead-letter queue"):
        async with session.temporary_channel() as channel:
            queue = await declare_dead_queue(channel)
            messages = await _take(queue, limit)
            await _put_back(queue, messages)
            return [to_dead_letter(message) for message in messages]


async def replay_dead(session: AmqpSession, ids: Collection[str] | None) -> ReplayReport:
    """Publish parked messages to the queues that they came from; each is confirmed before it is forgotten here.

    What is parked again meanwhile is not taken a second time: all are taken before the first is published. A process
    that is killed between confirmation and forgetting leaves one message in both places, and none in neither. A message
    that was parked twice (its consumer was killed before it could acknowledge) is published once.
    """
    replayed = ReplayReport()
    published: set[tuple[str, str, bytes]] = set()
    with broker_errors("replay the dead-letter queue"):
        async with session.temporary_channel() as channel:
            queue = await declare_dead_queue(channel)
            rest = []
            for message in await _take(queue, _MAX_MESSAGES):
                dead = to_dead_letter(message)
                envelope = dead.envelope
                same = (envelope.id, dead.queue, envelope.body)
                if ids is not None and envelope.id not in ids:
                    rest.append(message)
                elif same in published:
                    await message.ack()
                elif await _publish(session, dead):
                    await message.ack()
                    published.add(same)
                    replayed.done.append(envelope.id)
                else:
                    rest.append(message)
                    replayed.queue_missing.append(envelope.id)
            await _put_back(queue, rest)
    return replayed


async def _publish(session: AmqpSession, dead: DeadLetter) -> bool:
    try:
        message = to_message(reset_for_replay(dead.envelope))
        await session.publish(message, exchange="", routing_key=dead.queue, timeout=_TIMEOUT)
    except Unroutable:
        return False
    return True


async def _take(queue: AbstractQueue, limit: int) -> list[AbstractIncomingMessage]:
    taken: list[AbstractIncomingMessage] = []
    while len(taken) < limit:
        message = await queue.get(fail=False, timeout=_TIMEOUT)
        if message is None:
            break
        taken.append(message)
    return taken


async def _put_back(queue: AbstractQueue, messages: Sequence[AbstractIncomingMessage]) -> None:
    """Return messages, and wait until the next listing can see them; the broker takes a moment for it."""
    for message in messages:
        await message.nack(requeue=True)
    for _ in range(100):
        if ((await queue.declare()).message_count or 0) >= len(messages):
            return
        await asyncio.sleep(0.02)
