"""Looks into the dead-letter queue of a broker."""

import asyncio

from osteon.bus.rabbit import RabbitBus


def dead_letters(url: str) -> list[str]:
    """Return what is parked: queue, type and last error of each message."""
    return asyncio.run(_read(url))


async def _read(url: str) -> list[str]:
    bus = RabbitBus(url)
    await bus.start()
    try:
        return [f"{d.queue} {d.envelope.type}: {d.envelope.history.last_error}" for d in await bus.dead_letters()]
    finally:
        await bus.close()
