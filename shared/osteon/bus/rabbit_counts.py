"""How many messages wait in queues, asked from time to time: without it nobody notices a dead letter."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from osteon import metrics
from osteon.bus.port import BusUnavailable
from osteon.bus.rabbit_link import Link, broker_errors
from osteon.contracts.topology import DEAD_QUEUE
from osteon.logging import get_logger

EVERY: Final = 15.0
"""Seconds."""
_FIRST: Final = 2.0
_TIMEOUT: Final = 5.0
log = get_logger(__name__)


async def keep_counting(link: Link, queues: Callable[[], Iterable[str]]) -> None:
    """Keep `osteon_queue_messages` true for the dead-letter queue and those that this process uses.

    Ends with the link, by itself: a call that is broken off half way would take the connection with it.
    """
    pause = _FIRST
    while not await _closed_within(link, pause):
        pause = EVERY
        for name in {DEAD_QUEUE, *queues()}:
            try:
                metrics.QUEUE_MESSAGES.labels(name).set(await waiting_in(link, name))
            except BusUnavailable as error:
                log.debug("queue not counted", queue=name, reason=str(error))


async def _closed_within(link: Link, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await link.closed.wait()
    return link.closed.is_set()


async def waiting_in(link: Link, queue: str) -> int:
    """Return how many messages a queue holds that nobody has taken; raises `BusUnavailable`."""
    with broker_errors(f"count queue {queue}"):
        async with asyncio.timeout(_TIMEOUT), link.passing_channel() as channel:
            found = await channel.declare_queue(queue, passive=True)
            return found.declaration_result.message_count or 0
