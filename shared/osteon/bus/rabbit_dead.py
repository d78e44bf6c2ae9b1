"""Looking into the dead-letter queue, and putting its messages back to work."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from osteon.bus.port import Unroutable
from osteon.bus.rabbit_link import Link, broker_errors
from osteon.bus.rabbit_wire import declare_dead_queue, to_dead_letter, to_message
from osteon.bus.wire import DeadLetter, fresh

_TIMEOUT = 10.0
_MOST = 10_000
"""Messages that one look takes into memory; `ParkLimit` keeps their number far below."""


@dataclass(slots=True)
class Replayed:
    """What became of the messages that were to be replayed, by their identifiers."""

    done: list[str] = field(default_factory=list)
    homeless: list[str] = field(default_factory=list)
    """Their queue does not exist; they stay parked."""


async def list_dead(link: Link, limit: int = _MOST) -> list[DeadLetter]:
    """Return parked messages, oldest first, and put them back."""
    with broker_errors("read the dead-letter queue"):
        async with link.passing_channel() as channel:
            queue = await declare_dead_queue(channel)
            messages = await _take(queue, limit)
            await _put_back(queue, messages)
            return [to_dead_letter(message) for message in messages]


async def replay_dead(link: Link, ids: Collection[str] | None) -> Replayed:
    """Publish parked messages to the queues that they came from; each is confirmed before it is forgotten here.

    What is parked again meanwhile is not taken a second time: all are taken before the first is published. Whoever is
    killed between confirmation and forgetting leaves one message in both places, and none in neither. A message that
    was parked twice (its consumer was killed before it could say so) is published once.
    """
    replayed = Replayed()
    published: set[tuple[str, str, bytes]] = set()
    with broker_errors("replay the dead-letter queue"):
        async with link.passing_channel() as channel:
            queue = await declare_dead_queue(channel)
            rest = []
            for message in await _take(queue, _MOST):
                dead = to_dead_letter(message)
                letter = dead.letter
                same = (letter.id, dead.queue, letter.body)
                if ids is not None and letter.id not in ids:
                    rest.append(message)
                elif same in published:
                    await message.ack()
                elif await _publish(link, dead):
                    await message.ack()
                    published.add(same)
                    replayed.done.append(letter.id)
                else:
                    rest.append(message)
                    replayed.homeless.append(letter.id)
            await _put_back(queue, rest)
    return replayed


async def _publish(link: Link, dead: DeadLetter) -> bool:
    try:
        await link.publish(to_message(fresh(dead.letter)), exchange="", routing_key=dead.queue, timeout=_TIMEOUT)
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
    """Return messages, and wait until whoever looks next can see them; the broker takes a moment for it."""
    for message in messages:
        await message.nack(requeue=True)
    for _ in range(100):
        if ((await queue.declare()).message_count or 0) >= len(messages):
            return
        await asyncio.sleep(0.02)
