"""How many messages wait in queues, measured from time to time: without it a dead letter goes unnoticed."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from osteon import metrics
from osteon.bus.port import BusUnavailable
from osteon.bus.rabbit_session import AmqpSession, broker_errors
from osteon.contracts.topology import DEAD_QUEUE
from osteon.logging import get_logger

EVERY: Final = 15.0
"""Seconds."""
_FIRST: Final = 2.0
_TIMEOUT: Final = 5.0
log = get_logger(__name__)


async def track_queue_depths(session: AmqpSession, queues: Callable[[], Iterable[str]]) -> None:
    """Keep `osteon_queue_messages` true for the dead-letter queue and those that this process uses.

    Ends with the session, by itself: a call that is broken off half way would take the connection with it.
    """
    pause = _FIRST
    while not await _closed_within(session, pause):
        pause = EVERY
        for name in {DEAD_QUEUE, *queues()}:
            try:
                metrics.QUEUE_MESSAGES.labels(name).set(await count_messages(session, name))
            except BusUnavailable as error:
                log.debug("queue not counted", queue=name, reason=str(error))


async def _closed_within(session: AmqpSession, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await session.closed.wait()
    return session.closed.is_set()


async def count_messages(session: AmqpSession, queue: str) -> int:
    """Return how many messages a queue holds that are not delivered yet; raises `BusUnavailable`."""
    with broker_errors(f"count queue {queue}"):
        async with asyncio.timeout(_TIMEOUT), session.temporary_channel() as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0
