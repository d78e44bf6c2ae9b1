"""`osteon.bus.memory`: what only the in-memory bus does."""

import pytest

from osteon.bus.memory import MemoryBus
from osteon.bus.port import BusUnavailable
from osteon.contracts.packs import PackIndexed, PackSealed
from support.bus.messages import eventually, indexed, sealed, work_queue


async def test_a_full_backlog_refuses_messages_instead_of_growing() -> None:
    bus, queue = MemoryBus(backlog=3), work_queue()
    await bus.start()
    await bus.declare(queue)
    for _ in range(3):
        await bus.publish(sealed(queue))
    with pytest.raises(BusUnavailable, match="holds 3 messages"):
        await bus.publish(sealed(queue))
    await bus.close()


async def test_messages_are_copies_so_that_what_works_here_works_on_the_wire() -> None:
    bus, queue, got = MemoryBus(), work_queue(), []

    async def handler(message: PackSealed) -> None:
        got.append(message)

    await bus.start()
    await bus.consume(queue, handler)
    message = sealed(queue)
    await bus.publish(message)
    await eventually(lambda: got == [message])
    assert got[0] is not message
    await bus.close()


async def test_publishing_in_a_loop_does_not_starve_a_listener() -> None:
    bus, got = MemoryBus(), []

    async def listen(event: PackIndexed) -> None:
        got.append(event)

    await bus.start()
    await bus.subscribe(PackIndexed, listen)
    for _ in range(100):
        await bus.publish(indexed())
    assert len(got) >= 50
    await bus.close()


async def test_a_closed_bus_refuses_messages() -> None:
    bus = MemoryBus()
    await bus.start()
    await bus.close()
    with pytest.raises(BusUnavailable):
        await bus.publish(indexed())
