"""`osteon dlq` on a real broker: what is parked is seen, put back to work once, and never lost."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import pytest
from click.testing import Result
from typer.testing import CliRunner

from osteon.bus import queue_depth, rabbit_dead_letters
from osteon.bus.port import BusUnavailable
from osteon.bus.rabbit import RabbitBus
from osteon.bus.rabbit_session import AmqpSession
from osteon.cli import dlq
from osteon.contracts.packs import PackSealed
from osteon.contracts.topology import DEAD_EXCHANGE, DEAD_QUEUE, Queue
from osteon.errors import Invalid
from osteon_local.part import free_port
from support.bus.messages import eventually, sealed, work_queue
from support.metric_values import value
from support.services.parts import RabbitMQ

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("broker")]


class Handler:
    """Refuses everything until it is mended; counts what it was given."""

    def __init__(self) -> None:
        self.broken = True
        self.got: Counter[str] = Counter()

    async def __call__(self, message: PackSealed) -> None:
        self.got[message.pack_id] += 1
        if self.broken:
            raise Invalid("bytes differ from those received")


@asynccontextmanager
async def consuming(broker: RabbitMQ, queue: Queue, handler: Handler, *names: str) -> AsyncIterator[RabbitBus]:
    """Park a message of each name, and go on consuming."""
    bus = RabbitBus(broker.url, retry_delays_ms=(5, 10))
    await bus.start()
    try:
        await bus.consume(queue, handler)
        for name in names:
            await bus.publish(sealed(queue, name))
        while len([dead for dead in await bus.dead_letters(1000) if dead.queue == queue.name]) < len(names):
            await asyncio.sleep(0.02)
        yield bus
    finally:
        await bus.close(grace=5)


@pytest.fixture
def broker(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> RabbitMQ:
    monkeypatch.setenv("OSTEON_AMQP_URL", rabbitmq.url)
    return rabbitmq


async def osteon_dlq(*arguments: str, code: int = 0, answer: str | None = None) -> Result:
    done = await asyncio.to_thread(CliRunner().invoke, dlq.app, arguments, answer)
    assert done.exit_code == code, done.output
    return done


async def parked(queue: Queue) -> list[dict[str, object]]:
    listed = json.loads((await osteon_dlq("list", "--json", "--queue", queue.name)).stdout)
    return [entry for entry in listed if entry["queue"] == queue.name]


async def test_what_is_parked_is_listed_shown_and_replayed(broker: RabbitMQ) -> None:
    queue, handler = work_queue(), Handler()
    async with consuming(broker, queue, handler, "first", "second"):
        one, two = await parked(queue)
        assert (one["message"], one["pack_id"], one["reason"], one["attempts"]) == ("PackSealed", "first", "invalid", 1)
        assert one["error"] == "Invalid: bytes differ from those received"
        assert "bytes differ" in (await osteon_dlq("list")).stdout.replace("\n", " ")
        shown = (await osteon_dlq("show", str(one["id"])[:12])).stdout
        assert '"pack_id": "first"' in shown
        assert f"queue           {queue.name}" in shown
        handler.broken = False
        await osteon_dlq("replay", str(one["id"])[:12], "--yes")
        await eventually(lambda: handler.got["first"] == 2)
        assert [entry["id"] for entry in await parked(queue)] == [two["id"]]
        assert handler.got["second"] == 1


async def test_replay_asks_before_it_does_anything(broker: RabbitMQ) -> None:
    queue, handler = work_queue(), Handler()
    async with consuming(broker, queue, handler, "only"):
        await osteon_dlq("replay", "--queue", queue.name, code=1, answer="n\n")
        assert len(await parked(queue)) == 1
        handler.broken = False
        await osteon_dlq("replay", "--queue", queue.name, answer="y\n")
        await eventually(lambda: handler.got["only"] == 2)
        assert await parked(queue) == []


async def test_a_message_that_fails_again_is_parked_again_and_says_how_often(broker: RabbitMQ) -> None:
    queue, handler = work_queue(), Handler()
    async with consuming(broker, queue, handler, "stubborn"):
        for replays in (1, 2):
            await osteon_dlq("replay", "--queue", queue.name, "--yes")
            await eventually(lambda: handler.got["stubborn"] == replays + 1)  # noqa: B023  (awaited at once)
            while not (again := await parked(queue)):
                await asyncio.sleep(0.05)
            assert (again[0]["replays"], again[0]["attempts"]) == (replays, 1)


async def test_two_who_replay_at_once_replay_each_message_once(broker: RabbitMQ) -> None:
    queue, handler = work_queue(), Handler()
    names = [f"m{number}" for number in range(10)]
    async with consuming(broker, queue, handler, *names) as bus:
        ids = {str(entry["id"]) for entry in await parked(queue)}
        handler.broken = False
        other = await AmqpSession.open(broker.url)
        try:
            await asyncio.gather(bus.replay(ids), rabbit_dead_letters.replay_dead(other, ids))
        finally:
            await other.close()
        await bus.replay(ids)  # what each held back from the other for a moment
        await eventually(lambda: set(handler.got.values()) == {2})
        assert await parked(queue) == []


async def test_who_is_killed_after_publishing_leaves_the_message_in_both_places(
    broker: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, handler = work_queue(), Handler()
    publish = rabbit_dead_letters._publish

    async def killed(session: AmqpSession, dead: rabbit_dead_letters.DeadLetter) -> bool:
        await publish(session, dead)
        raise BusUnavailable("killed")

    async with consuming(broker, queue, handler, "a", "b") as bus:
        ids = {str(entry["id"]) for entry in await parked(queue)}
        handler.broken = False
        monkeypatch.setattr(rabbit_dead_letters, "_publish", killed)
        with pytest.raises(BusUnavailable):
            await bus.replay(ids)
        monkeypatch.undo()
        monkeypatch.setenv("OSTEON_AMQP_URL", broker.url)
        await eventually(lambda: handler.got["a"] == 2)
        assert len(await parked(queue)) == 2
        assert await bus.replay(ids) == 2
        await eventually(lambda: handler.got == {"a": 3, "b": 2})


async def test_a_message_that_was_parked_twice_is_replayed_once(broker: RabbitMQ) -> None:
    queue, handler = work_queue(), Handler()
    async with consuming(broker, queue, handler, "twice") as bus:
        connection = await aio_pika.connect(broker.url)
        async with connection, connection.channel() as channel:
            source = await channel.get_queue(DEAD_QUEUE)
            while (message := await source.get()) and b'"twice"' not in message.body:
                pass
            assert message
            target = await channel.get_exchange(DEAD_EXCHANGE)
            await target.publish(message, queue.name)
        assert len(await parked(queue)) == 2
        handler.broken = False
        assert await bus.replay({message.message_id or ""}) == 1
        await eventually(lambda: handler.got["twice"] == 2)
        assert await parked(queue) == []


async def test_a_message_whose_queue_is_gone_stays_parked_and_does_not_stop_the_others(broker: RabbitMQ) -> None:
    gone, there, handler = work_queue(), work_queue(), Handler()
    async with consuming(broker, gone, handler, "queue_missing"):
        pass
    connection = await aio_pika.connect(broker.url)
    async with connection, connection.channel() as channel:
        await channel.queue_delete(gone.name)
    async with consuming(broker, there, handler, "at home"):
        ids = [str(entry["id"]) for entry in [*await parked(gone), *await parked(there)]]
        handler.broken = False
        done = await osteon_dlq("replay", *ids, "--yes", code=1)
        assert f"{ids[0]}: its queue does not exist" in done.output
        await eventually(lambda: handler.got["at home"] == 2)
        assert [entry["id"] for entry in await parked(gone)] == ids[:1]


async def test_what_somebody_else_put_there_can_be_named_too(broker: RabbitMQ) -> None:
    queue, handler = work_queue(), Handler()
    async with consuming(broker, queue, handler):
        connection = await aio_pika.connect(broker.url)
        async with connection, connection.channel() as channel:
            await channel.default_exchange.publish(aio_pika.Message(b"\xffnot ours"), queue.name)
        while not (entries := await parked(queue)):
            await asyncio.sleep(0.05)
        assert len(str(entries[0]["id"])) == 32
        assert "not ours" in (await osteon_dlq("show", str(entries[0]["id"]))).stdout


async def test_an_identifier_that_nothing_has_is_said(broker: RabbitMQ) -> None:
    assert "no such parked message" in (await osteon_dlq("show", "zzzz", code=1)).output
    assert "--all" in (await osteon_dlq("replay", code=2)).output


async def test_without_a_broker_it_says_so_and_what_standalone_does(
    broker: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEON_AMQP_URL", f"amqp://127.0.0.1:{free_port()}/")
    said = (await osteon_dlq("list", code=1)).output
    assert "OSTEON_AMQP_URL" in said
    assert "standalone" in said


async def test_the_length_of_the_dead_letter_queue_is_a_metric(
    broker: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    from osteon import metrics

    monkeypatch.setattr(queue_depth, "EVERY", 0.05)
    monkeypatch.setattr(queue_depth, "_FIRST", 0.05)
    queue, handler = work_queue(), Handler()
    gauge = metrics.QUEUE_MESSAGES.labels(DEAD_QUEUE)
    gauge.set(0)
    async with consuming(broker, queue, handler, "counted") as bus:
        await eventually(lambda: value(gauge) >= 1)
        handler.broken = False
        await bus.replay([str(entry["id"]) for entry in await parked(queue)])


async def test_a_call_that_is_under_way_when_the_connection_closes_fails_and_the_bus_closes(
    broker: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_depth, "EVERY", 0.0)
    monkeypatch.setattr(queue_depth, "_FIRST", 0.0)
    failed: list[Exception] = []

    async def counted(session: AmqpSession, queue: str) -> int:
        try:
            return await count_messages(session, queue)
        except Exception as error:
            failed.append(error)
            raise

    count_messages = queue_depth.count_messages
    monkeypatch.setattr(queue_depth, "count_messages", counted)
    for _ in range(10):
        bus = RabbitBus(broker.url)
        await bus.start()
        await asyncio.sleep(0.02)
        await bus.close()
    assert {type(error) for error in failed} == {BusUnavailable}


async def test_a_connection_whose_end_fails_unexpectedly_does_not_keep_the_bus_from_closing(
    broker: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(session: AmqpSession, queues: object) -> None:
        await session.closed.wait()
        raise LookupError("unexpected")

    monkeypatch.setattr("osteon.bus.rabbit.track_queue_depths", broken)
    bus = RabbitBus(broker.url)
    await bus.start()
    await bus.close()
    assert bus._session is None
