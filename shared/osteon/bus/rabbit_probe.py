"""Checks of a broker that change nothing, for `osteon doctor`."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Final

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity
from pamqp.common import FieldTable

from osteon.bus.port import BusUnavailable, TopologyDiffers
from osteon.bus.rabbit_queues import QUORUM, declare_all
from osteon.bus.rabbit_session import AmqpSession, broker_errors

_TRIAL_EXPIRES_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue that exists. `problem` says with which other properties than Osteon gives it."""

    messages: int
    consumers: int
    problem: str = ""


async def queue_state(session: AmqpSession, name: str, arguments: FieldTable) -> QueueState | None:
    """Return a queue's state, None when it does not exist: one that exists is declared again, which changes nothing."""
    with broker_errors(f"inspect queue {name}"):
        try:
            async with session.temporary_channel() as channel:
                found = (await channel.declare_queue(name, passive=True)).declaration_result
        except ChannelNotFoundEntity:
            return None
    messages, consumers = found.message_count or 0, found.consumer_count or 0
    try:
        with broker_errors(f"inspect queue {name}"):
            async with session.temporary_channel() as channel:
                await declare_all(channel, {name: arguments})
    except TopologyDiffers as error:
        return QueueState(messages, consumers, str(error).partition(": ")[2])
    return QueueState(messages, consumers)


async def try_quorum_queue(session: AmqpSession, *, seconds: float) -> None:
    """Send a message through a quorum queue of its own, which is deleted then; raises `BusUnavailable`.

    A broker with a memory or disk alarm takes the queue, but no message: then the queue expires by itself.
    """
    name = f"osteon.doctor.{uuid.uuid4().hex}"
    with broker_errors(f"send a message through the quorum queue {name}"):
        async with asyncio.timeout(seconds), session.temporary_channel() as channel:
            (queue,) = await declare_all(channel, {name: QUORUM | {"x-expires": _TRIAL_EXPIRES_MS}})
            message = aio_pika.Message(b"?", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, name, mandatory=True)
            got = await queue.get(fail=False, timeout=seconds)
            if got is None:
                raise BusUnavailable(f"the message sent to the quorum queue {name} did not come back")
            await got.ack()
            await queue.delete(if_unused=False, if_empty=False)
