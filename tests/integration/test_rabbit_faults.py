"""What the RabbitMQ bus does while its broker dies, hangs and comes back."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest

from osteon.bus.port import BusUnavailable, RequestTimeout
from osteon.bus.rabbit import RabbitBus
from osteon.contracts.find import FindPageReply, FindPageRequest
from osteon.contracts.packs import PackIndexed, PackSealed
from osteon.errors import Unavailable
from support.bus.messages import eventually, find, indexed, rpc_queue, sealed, work_queue
from support.services.parts import RabbitMQ

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
async def broker(own_rabbitmq: RabbitMQ) -> AsyncIterator[RabbitMQ]:
    if not own_rabbitmq.alive:
        await asyncio.to_thread(own_rabbitmq.start)
    yield own_rabbitmq


@pytest.fixture
async def bus(broker: RabbitMQ) -> AsyncIterator[RabbitBus]:
    bus = RabbitBus(broker.url, retry_delays_ms=(20, 50))
    await bus.start()
    yield bus
    await bus.close(grace=5)


async def on_disk() -> None:
    """Wait until a queue that was just made survives a kill -9: its Ra directory is written late."""
    await asyncio.sleep(5)


async def publish_surely(bus: RabbitBus, message: PackSealed) -> None:
    """What the spool does: publish until confirmed."""
    while True:
        try:
            return await bus.publish(message)
        except BusUnavailable:
            await asyncio.sleep(0.05)


async def published(bus: RabbitBus, message: PackIndexed) -> None:
    while True:
        try:
            return await bus.publish(message)
        except BusUnavailable:
            await asyncio.sleep(0.05)


async def test_nothing_that_was_confirmed_is_lost_when_the_broker_is_killed_under_load(
    broker: RabbitMQ, bus: RabbitBus
) -> None:
    queue, confirmed, handled = work_queue(), set(), set()

    async def handler(message: PackSealed) -> None:
        await asyncio.sleep(0)
        handled.add(message.pack_id)

    async def publisher(number: int) -> None:
        for index in range(150):
            name = f"p{number}-{index}"
            await publish_surely(bus, sealed(queue, name))
            confirmed.add(name)

    await bus.consume(queue, handler, concurrency=8)
    await on_disk()
    publishers = asyncio.gather(*(publisher(number) for number in range(4)))
    for milestone in (100, 350):
        await eventually(lambda: len(confirmed) >= milestone)  # noqa: B023  (awaited at once)
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
    await publishers
    await eventually(lambda: handled >= confirmed, seconds=120)
    assert len(confirmed) == 600
    assert not [dead for dead in await bus.dead_letters() if dead.queue == queue.name]


async def test_publishing_while_the_broker_is_down_fails_within_seconds_and_works_afterwards(
    broker: RabbitMQ, bus: RabbitBus
) -> None:
    queue = work_queue()
    await bus.declare(queue)
    await asyncio.to_thread(broker.kill)
    async with asyncio.timeout(30):
        with pytest.raises(BusUnavailable):
            await bus.publish(sealed(queue))
        with pytest.raises(BusUnavailable):
            await bus.check()
        with pytest.raises(BusUnavailable):
            await bus.request(rpc_queue(), find(), timeout=1)
    await asyncio.to_thread(broker.start)
    await publish_surely(bus, sealed(queue))


async def test_a_frozen_broker_is_given_up_and_consumers_go_on_when_it_thaws(broker: RabbitMQ, bus: RabbitBus) -> None:
    queue, handled = work_queue(), []

    async def handler(message: PackSealed) -> None:
        handled.append(message.pack_id)

    await bus.consume(queue, handler)
    broker.pause()
    try:
        async with asyncio.timeout(30):
            with pytest.raises(BusUnavailable):
                await bus.publish(sealed(queue, "during"))
            with pytest.raises(BusUnavailable):
                await bus.check()
        session = bus._session
        assert session is not None
        await asyncio.wait_for(session.closed.wait(), 60)
    finally:
        broker.resume()
    await publish_surely(bus, sealed(queue, "after"))
    await eventually(lambda: "after" in handled)


async def test_a_request_in_flight_fails_at_once_when_the_broker_dies(broker: RabbitMQ, bus: RabbitBus) -> None:
    queue, asked = rpc_queue(), asyncio.Event()

    async def serve(request: FindPageRequest) -> FindPageReply:
        asked.set()
        await asyncio.sleep(3600)
        return FindPageReply(correlation_id=request.correlation_id)

    await bus.serve(queue, serve)
    request = asyncio.create_task(bus.request(queue, find(), timeout=3600))
    await asked.wait()
    await asyncio.to_thread(broker.kill)
    async with asyncio.timeout(60):
        with pytest.raises(BusUnavailable) as caught:
            await request
    assert not isinstance(caught.value, RequestTimeout)


async def test_a_bus_that_starts_before_its_broker_waits_for_it(broker: RabbitMQ) -> None:
    await asyncio.to_thread(broker.stop)
    bus, queue = RabbitBus(broker.url), work_queue()
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(1)
    assert not starting.done()
    await asyncio.to_thread(broker.start)
    async with asyncio.timeout(60):
        await starting
    await bus.declare(queue)
    await bus.publish(sealed(queue))
    await bus.close()


class Restart:
    """A broker that is killed and started once everybody who wants to see it is ready."""

    def __init__(self, parties: int) -> None:
        self._before, self._after = asyncio.Barrier(parties + 1), asyncio.Barrier(parties + 1)

    async def wait(self) -> None:
        """Return when the broker is back."""
        await self._before.wait()
        await self._after.wait()

    async def run(self, broker: RabbitMQ) -> None:
        """Wait for the others, then let it happen."""
        await self._before.wait()
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        await self._after.wait()


async def test_work_events_and_requests_go_on_after_a_restart(broker: RabbitMQ, bus: RabbitBus) -> None:
    seeing = (
        events_and_requests_work_again,
        a_handler_that_is_cut_off_sees_its_message_again,
        waiting_messages_survive,
    )
    restart = Restart(len(seeing))
    async with asyncio.TaskGroup() as together:
        for see in seeing:
            together.create_task(see(bus, restart))
        together.create_task(restart.run(broker))


async def events_and_requests_work_again(bus: RabbitBus, restart: Restart) -> None:
    events, queue = [], rpc_queue()

    async def listen(event: PackIndexed) -> None:
        events.append(event.pack_id)

    async def serve(request: FindPageRequest) -> FindPageReply:
        return FindPageReply(correlation_id=request.correlation_id)

    await bus.subscribe(PackIndexed, listen)
    await bus.serve(queue, serve)
    await bus.request(queue, find(), timeout=30)
    await restart.wait()
    await published(bus, indexed("after"))
    await eventually(lambda: events == ["after"])
    assert isinstance(await bus.request(queue, find(), timeout=30), FindPageReply)


async def a_handler_that_is_cut_off_sees_its_message_again(bus: RabbitBus, restart: Restart) -> None:
    queue, begun, seen = work_queue(), asyncio.Event(), []
    resume = asyncio.Event()

    async def handler(message: PackSealed) -> None:
        seen.append(message.pack_id)
        begun.set()
        await resume.wait()

    await bus.consume(queue, handler)
    await on_disk()
    await bus.publish(sealed(queue, "x"))
    await begun.wait()
    await restart.wait()
    resume.set()
    await eventually(lambda: seen == ["x", "x"])


async def waiting_messages_survive(bus: RabbitBus, restart: Restart) -> None:
    queue, handled, down = work_queue(), set(), True

    async def handler(message: PackSealed) -> None:
        if down:
            raise Unavailable("database")
        handled.add(message.pack_id)

    await bus.consume(queue, handler, concurrency=4)
    await on_disk()
    names = {f"w{n}" for n in range(50)}
    for name in names:
        await bus.publish(sealed(queue, name))
    await restart.wait()
    down = False
    await eventually(lambda: handled == names)


async def test_a_broker_out_of_memory_or_disk_refuses_messages_and_takes_them_again_later(
    broker: RabbitMQ, bus: RabbitBus
) -> None:
    queue, handled, entered, leave = work_queue(), [], asyncio.Event(), asyncio.Event()

    async def handler(message: PackSealed) -> None:
        handled.append(message.pack_id)
        entered.set()
        await leave.wait()
        if len(handled) == 1:
            raise ValueError("once")

    await bus.consume(queue, handler)
    await bus.publish(sealed(queue, "before"))
    await entered.wait()
    await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "absolute", "1")
    try:
        async with asyncio.timeout(60):
            with pytest.raises(BusUnavailable):
                while True:  # the alarm needs a moment
                    await bus.publish(sealed(queue, "refused"))
            leave.set()
            with pytest.raises(BusUnavailable):
                await bus.check()
    finally:
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")
    await publish_surely(bus, sealed(queue, "after"))
    await eventually(lambda: "after" in handled and handled.count("before") >= 2)
    assert not [dead for dead in await bus.dead_letters() if dead.queue == queue.name]


async def test_a_consumer_whose_queue_was_deleted_makes_it_again(broker: RabbitMQ, bus: RabbitBus) -> None:
    queue, handled = work_queue(), []

    async def handler(message: PackSealed) -> None:
        handled.append(message.pack_id)

    await bus.consume(queue, handler)
    connection = await aio_pika.connect(broker.url)
    async with connection, connection.channel() as channel:
        await channel.queue_delete(queue.name)
    await publish_surely(bus, sealed(queue, "x"))
    await eventually(lambda: "x" in handled)


async def test_a_body_that_is_no_message_is_parked_with_the_reason(broker: RabbitMQ, bus: RabbitBus) -> None:
    queue = work_queue()

    async def handler(_: PackSealed) -> None:
        raise AssertionError("never called")

    await bus.consume(queue, handler)
    connection = await aio_pika.connect(broker.url)
    async with connection, connection.channel() as channel:
        for kind, body in (("PackSealed", b"{"), ("", b""), ("PackStored", b"{}"), ("PackSealed", b"{}")):
            await channel.default_exchange.publish(aio_pika.Message(body, type=kind), queue.name)
    async with asyncio.timeout(60):
        while len(dead := [d for d in await bus.dead_letters(1000) if d.queue == queue.name]) < 4:
            await asyncio.sleep(0.05)
    assert {entry.reason for entry in dead} == {"invalid"}
    assert any("correlation_id: Field required" in entry.envelope.history.last_error for entry in dead)
    assert await bus.replay([entry.envelope.id for entry in dead if entry.envelope.id]) <= 4


WORKER_THAT_DIES = textwrap.dedent(
    """
    import asyncio, os, sys
    from osteon.bus import rabbit_queues
    from osteon.bus.rabbit import RabbitBus
    from osteon.contracts.packs import PackSealed
    from osteon.contracts.topology import Queue

    rabbit_queues.DELIVERY_LIMIT = 2

    async def handle(message):
        if message.pack_id == "poison":
            os._exit(9)
        await asyncio.sleep(0.05)
        print(message.pack_id, flush=True)
        if message.pack_id == "last":
            os._exit(0)

    async def main():
        bus = RabbitBus(sys.argv[1])
        await bus.start()
        await bus.consume(Queue(sys.argv[2], PackSealed, sys.argv[3]), handle, concurrency=16)
        await asyncio.sleep(60)

    asyncio.run(main())
    """
)


async def test_a_message_that_ends_its_consumers_process_is_parked_without_those_beside_it(
    broker: RabbitMQ, bus: RabbitBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon.bus.rabbit_queues.DELIVERY_LIMIT", 2)
    queue, handled = work_queue(), set()
    await bus.declare(queue)
    script = tmp_path / "worker.py"
    script.write_text(WORKER_THAT_DIES)
    before, after = [f"a{n}" for n in range(4)], [f"b{n}" for n in range(8)]
    for name in (*before, "poison", *after):
        await bus.publish(sealed(queue, name))

    async def run() -> int:
        command = [sys.executable, str(script), broker.url, queue.name, queue.routing_key]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert done.returncode in (0, 9), done.stderr
        handled.update(done.stdout.split())
        return done.returncode

    for _ in range(3):
        assert await run() == 9
    await bus.publish(sealed(queue, "last"))
    assert await run() == 0
    async with asyncio.timeout(60):
        while not (dead := [d for d in await bus.dead_letters(1000) if d.queue == queue.name]):
            await asyncio.sleep(0.05)
    assert [(entry.reason, b'"poison"' in entry.envelope.body) for entry in dead] == [("delivery_limit", True)]
    assert handled >= {*before, *after}
