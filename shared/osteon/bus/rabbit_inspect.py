"""What can be told of a broker without changing it, for `osteon doctor`."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Final

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity
from pamqp.common import FieldTable

from osteon.bus.port import BusUnavailable, TopologyDiffers
from osteon.bus.rabbit_link import Link, broker_errors
from osteon.bus.rabbit_wire import QUORUM, declare_all

_TRIAL_EXPIRES_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue that exists. `problem` says with which other properties than Osteon gives it."""

    messages: int
    consumers: int
    problem: str = ""


async def queue_state(link: Link, name: str, arguments: FieldTable) -> QueueState | None:
    """Return a queue's state, None when there is none: a queue that exists is declared, and nothing happens to it."""
    with broker_errors(f"look at queue {name}"):
        try:
            async with link.passing_channel() as channel:
                found = (await channel.declare_queue(name, passive=True)).declaration_result
        except ChannelNotFoundEntity:
            return None
    messages, consumers = found.message_count or 0, found.consumer_count or 0
    try:
        with broker_errors(f"look at queue {name}"):
            async with link.passing_channel() as channel:
                await declare_all(channel, {name: arguments})
    except TopologyDiffers as error:
        return QueueState(messages, consumers, str(error).partition(": ")[2])
    return QueueState(messages, consumers)


async def try_quorum_queue(link: Link, *, seconds: float) -> None:
    """Send a message through a quorum queue that is made for it and deleted; raises `BusUnavailable`.

    A broker with a memory or disk alarm takes the queue, but no message: then the queue goes by itself.
    """
    name = f"osteon.doctor.{uuid.uuid4().hex}"
    with broker_errors(f"send a message through the quorum queue {name}"):
        async with asyncio.timeout(seconds), link.passing_channel() as channel:
            (queue,) = await declare_all(channel, {name: QUORUM | {"x-expires": _TRIAL_EXPIRES_MS}})
            message = aio_pika.Message(b"?", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, name, mandatory=True)
            got = await queue.get(fail=False, timeout=seconds)
            if got is None:
                raise BusUnavailable(f"the message sent to the quorum queue {name} did not come back")
            await got.ack()
            await queue.delete(if_unused=False, if_empty=False)
