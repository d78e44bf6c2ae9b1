"""The contract of `osteon.bus.port`, over every bus."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from osteon import tracing
from osteon.bus.memory import MemoryBus
from osteon.bus.port import BusUnavailable, RequestFailed, RequestTimeout, Unroutable
from osteon.bus.rabbit import RabbitBus
from osteon.contracts.find import FindPageReply, FindPageRequest
from osteon.contracts.packs import PackIndexed, PackSealed
from osteon.contracts.retrieve import MoveProgressed
from osteon.contracts.topology import MAX_ATTEMPTS, RpcQueue
from osteon.errors import FailureKind, Invalid, NotFound, OsteonError, Unavailable
from osteon.tracing_otel import OtelTracer
from support.bus.messages import eventually, find, indexed, rpc_queue, sealed, work_queue

pytestmark = pytest.mark.xdist_group("broker")
AnyBus = MemoryBus | RabbitBus
DELAYS = (5, 10)


@pytest.fixture(params=["memory", pytest.param("rabbit", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest) -> Callable[[], AnyBus]:
    if request.param == "memory":
        return lambda: MemoryBus(retry_delays_ms=DELAYS)
    url = request.getfixturevalue("rabbitmq").url
    return lambda: RabbitBus(url, retry_delays_ms=DELAYS)


@pytest.fixture
async def bus(make: Callable[[], AnyBus]) -> AsyncIterator[AnyBus]:
    bus = make()
    await bus.start()
    yield bus
    await bus.close(grace=5)


class MessageRecorder:
    """A handler that keeps what it got, and fails as it was set up."""

    def __init__(self, *errors: Exception) -> None:
        self.got: list[Any] = []
        self.errors = list(errors)

    @property
    def names(self) -> list[str]:
        return [message.pack_id for message in self.got]

    async def __call__(self, message: Any) -> None:
        self.got.append(message)
        if self.errors:
            raise self.errors.pop(0)


async def dead_of(bus: AnyBus, queue: Any) -> list[Any]:
    return [dead for dead in await bus.dead_letters(10_000) if dead.queue == queue.name]


async def parked(bus: AnyBus, queue: Any, count: int = 1) -> list[Any]:
    async with asyncio.timeout(60):
        while len(found := await dead_of(bus, queue)) < count:
            await asyncio.sleep(0.02)
    return found


async def test_a_published_message_reaches_the_consumer_of_its_queue_unchanged(bus: AnyBus) -> None:
    queue, handler = work_queue(), MessageRecorder()
    await bus.consume(queue, handler)
    message = sealed(queue)
    await bus.publish(message)
    await eventually(lambda: bool(handler.got))
    assert handler.got == [message]


async def test_a_message_published_before_its_consumer_starts_is_kept(bus: AnyBus) -> None:
    queue, handler = work_queue(), MessageRecorder()
    await bus.declare(queue)
    await bus.publish(sealed(queue, "early"))
    await bus.consume(queue, handler)
    await eventually(lambda: handler.names == ["early"])


async def test_a_message_that_no_queue_takes_is_unroutable(bus: AnyBus) -> None:
    with pytest.raises(Unroutable):
        await bus.publish(sealed(work_queue()))


async def test_an_event_without_listeners_is_published(bus: AnyBus) -> None:
    await bus.publish(indexed())


async def test_a_request_type_cannot_be_published(bus: AnyBus) -> None:
    with pytest.raises(TypeError):
        await bus.publish(find())


async def test_a_handled_message_does_not_come_again(make: Callable[[], AnyBus], bus: AnyBus) -> None:
    queue, handler = work_queue(), MessageRecorder()
    await bus.consume(queue, handler)
    for name in ("a", "b", "c"):
        await bus.publish(sealed(queue, name))
    await eventually(lambda: len(handler.got) == 3)
    await bus.publish(sealed(queue, "last"))
    await eventually(lambda: handler.names[-1] == "last")
    assert handler.names == ["a", "b", "c", "last"]


async def test_concurrency_limits_how_many_messages_are_handled_at_once(bus: AnyBus) -> None:
    queue, running, most, done = work_queue(), 0, 0, 0

    async def handler(_: PackSealed) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        done += 1

    await bus.consume(queue, handler, concurrency=3)
    await asyncio.gather(*(bus.publish(sealed(queue)) for _ in range(20)))
    await eventually(lambda: done == 20)
    assert most == 3


async def test_an_unavailable_part_is_waited_for_longer_than_any_number_of_attempts(bus: AnyBus) -> None:
    queue, handler = work_queue(), MessageRecorder(*[Unavailable("down")] * (MAX_ATTEMPTS + 4))
    await bus.consume(queue, handler)
    await bus.publish(sealed(queue))
    await eventually(lambda: len(handler.got) == MAX_ATTEMPTS + 5)
    assert await dead_of(bus, queue) == []


async def test_an_invalid_message_is_parked_at_once_with_the_reason(bus: AnyBus) -> None:
    queue, handler = work_queue(), MessageRecorder(Invalid("(0010,0020) is not text"))
    await bus.consume(queue, handler)
    message = sealed(queue)
    await bus.publish(message)
    [dead] = await parked(bus, queue)
    assert dead.reason == "invalid"
    assert "(0010,0020) is not text" in dead.envelope.history.last_error
    assert dead.envelope.correlation_id == message.correlation_id
    assert len(handler.got) == 1


async def test_any_other_error_is_tried_again(bus: AnyBus) -> None:
    queue, handler = work_queue(), MessageRecorder(ValueError("once"), ValueError("twice"))
    await bus.consume(queue, handler)
    await bus.publish(sealed(queue))
    await eventually(lambda: len(handler.got) == 3)
    assert await dead_of(bus, queue) == []


async def test_a_message_that_fails_too_often_is_parked_with_its_first_and_last_error(bus: AnyBus) -> None:
    errors = [ValueError("first"), *[KeyError("later")] * MAX_ATTEMPTS]
    queue, handler = work_queue(), MessageRecorder(*errors)
    await bus.consume(queue, handler)
    await bus.publish(sealed(queue))
    [dead] = await parked(bus, queue)
    assert (dead.reason, dead.envelope.history.attempts) == ("attempts", MAX_ATTEMPTS)
    assert dead.envelope.history.first_error == "ValueError: first"
    assert "KeyError" in dead.envelope.history.last_error
    assert len(handler.got) == MAX_ATTEMPTS


async def test_waiting_for_a_part_does_not_count_towards_parking(bus: AnyBus) -> None:
    mixed = [ValueError("x"), Unavailable("down")] * (MAX_ATTEMPTS - 1)
    queue, handler = work_queue(), MessageRecorder(*mixed)
    await bus.consume(queue, handler)
    await bus.publish(sealed(queue))
    await eventually(lambda: len(handler.got) == 2 * MAX_ATTEMPTS - 1)
    assert await dead_of(bus, queue) == []


async def test_a_parked_message_can_be_replayed(bus: AnyBus) -> None:
    queue, handler = work_queue(), MessageRecorder(Invalid("bad deploy"), Invalid("bad deploy"))
    await bus.consume(queue, handler)
    await bus.publish(sealed(queue, "one"))
    await bus.publish(sealed(queue, "two"))
    dead = await parked(bus, queue, 2)
    first = next(entry for entry in dead if b'"one"' in entry.envelope.body)
    assert await bus.replay([first.envelope.id]) == 1
    await eventually(lambda: handler.names.count("one") == 2)
    [left] = await parked(bus, queue)
    assert left.envelope.id == next(entry.envelope.id for entry in dead if entry is not first)


async def test_batches_gather_up_to_their_size(bus: AnyBus) -> None:
    queue, sizes = work_queue(), []

    async def handler(batch: Sequence[PackSealed]) -> None:
        sizes.append(len(batch))

    await bus.declare(queue)
    await asyncio.gather(*(bus.publish(sealed(queue)) for _ in range(10)))
    await bus.consume_batches(queue, handler, size=4, linger=0.5)
    await eventually(lambda: sum(sizes) == 10)
    assert sizes == [4, 4, 2]


async def test_one_bad_message_does_not_take_its_batch_with_it(bus: AnyBus) -> None:
    queue, stored = work_queue(), []

    async def handler(batch: Sequence[PackSealed]) -> None:
        if any(message.pack_id == "bad" for message in batch):
            raise Invalid("bad pack")
        stored.extend(message.pack_id for message in batch)

    await bus.declare(queue)
    for name in ("a", "bad", "b"):
        await bus.publish(sealed(queue, name))
    await bus.consume_batches(queue, handler, size=3, linger=0.5)
    [dead] = await parked(bus, queue)
    assert b'"bad"' in dead.envelope.body
    await eventually(lambda: sorted(stored) == ["a", "b"])


async def test_a_batch_waits_as_a_whole_for_an_unavailable_part(bus: AnyBus) -> None:
    queue, sizes = work_queue(), []

    async def handler(batch: Sequence[PackSealed]) -> None:
        sizes.append(len(batch))
        if len(sizes) == 1:
            raise Unavailable("database")

    await bus.declare(queue)
    for _ in range(3):
        await bus.publish(sealed(queue))
    await bus.consume_batches(queue, handler, size=3, linger=0.5)
    await eventually(lambda: sum(sizes) == 6)
    assert sizes[0] == 3
    assert await dead_of(bus, queue) == []


async def test_every_subscriber_gets_every_event_in_order(bus: AnyBus) -> None:
    one, two = MessageRecorder(), MessageRecorder()
    await bus.subscribe(PackIndexed, one)
    await bus.subscribe(PackIndexed, two)
    mine = [f"e{n}" for n in range(20)]
    for name in mine:
        await bus.publish(indexed(name))
    await eventually(lambda: one.names == mine and two.names == mine)


async def test_a_subscriber_with_an_address_gets_the_events_for_it_alone(bus: AnyBus) -> None:
    one, two, every = [], [], []
    address = uuid.uuid4().hex

    def into(received: list[str]) -> Any:
        async def receive(event: MoveProgressed) -> None:
            if event.address.startswith(address):
                received.append(event.address)

        return receive

    await bus.subscribe(MoveProgressed, into(one), address=f"{address}1")
    await bus.subscribe(MoveProgressed, into(two), address=f"{address}2")
    await bus.subscribe(MoveProgressed, into(every))
    sent = [f"{address}{process}.{number}" for number in range(3) for process in (1, 2)]
    for to in sent:
        await bus.publish(MoveProgressed(correlation_id="c", address=to))
    await eventually(lambda: every == sent)
    await eventually(lambda: (one, two) == (sent[::2], sent[1::2]))


async def test_a_listener_that_fails_gets_the_next_event(bus: AnyBus) -> None:
    listener = MessageRecorder(ValueError("bug"))
    await bus.subscribe(PackIndexed, listener)
    await bus.publish(indexed("first"))
    await bus.publish(indexed("second"))
    await eventually(lambda: listener.names == ["first", "second"])


async def test_a_request_gets_its_answer(bus: AnyBus) -> None:
    queue = rpc_queue()

    async def serve(request: FindPageRequest) -> FindPageReply:
        return FindPageReply(correlation_id=request.correlation_id, cursor=request.identifier.hex())

    await bus.serve(queue, serve)
    answers = await asyncio.gather(*(bus.request(queue, find(bytes([n])), timeout=30) for n in range(20)))
    assert [answer.cursor for answer in answers] == [f"{n:02x}" for n in range(20)]


async def test_a_request_whose_handler_fails_times_out(bus: AnyBus) -> None:
    queue = rpc_queue()

    async def serve(_: FindPageRequest) -> FindPageReply:
        raise ValueError("bug")

    await bus.serve(queue, serve)
    with pytest.raises(RequestTimeout):
        await bus.request(queue, find(), timeout=0.3)


class DeniedRequest(Invalid):
    kind = FailureKind.REFUSED


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unavailable("the database is away"), FailureKind.UNAVAILABLE),
        (Invalid("no such level"), FailureKind.INVALID),
        (NotFound("no such job"), FailureKind.NOT_FOUND),
        (DeniedRequest("not yours"), FailureKind.REFUSED),
        (OsteonError("it crashed"), FailureKind.FAILED),
    ],
)
async def test_a_handlers_error_reaches_its_requester_as_a_kind_of_failure(
    bus: AnyBus, error: OsteonError, kind: FailureKind
) -> None:
    queue = rpc_queue()

    async def serve(_: FindPageRequest) -> FindPageReply:
        raise error

    await bus.serve(queue, serve)
    with pytest.raises(RequestFailed, match=str(error)) as caught:
        await bus.request(queue, find(), timeout=30)
    assert (caught.value.kind, caught.value.correlation_id) == (kind, "c-find")
    assert not isinstance(caught.value, Unavailable), "of the bus itself"


async def test_a_reply_of_another_type_than_the_queue_names_is_refused(bus: AnyBus) -> None:
    queue = rpc_queue()

    async def serve(request: FindPageRequest) -> FindPageRequest:
        return request

    await bus.serve(RpcQueue(queue.name, FindPageRequest, FindPageRequest), serve)
    with pytest.raises(Invalid, match="FindPageRequest where FindPageReply was expected"):
        await bus.request(queue, find(), timeout=30)


async def test_a_request_that_no_service_serves_is_unroutable(bus: AnyBus) -> None:
    with pytest.raises(Unroutable):
        await bus.request(rpc_queue(), find(), timeout=5)


async def test_close_lets_a_handler_in_flight_finish_and_publish(make: Callable[[], AnyBus]) -> None:
    bus, queue, begun, finished = make(), work_queue(), asyncio.Event(), []
    await bus.start()

    async def handler(message: PackSealed) -> None:
        begun.set()
        await asyncio.sleep(0.1)
        await bus.publish(indexed())
        finished.append(message.pack_id)

    await bus.consume(queue, handler)
    await bus.publish(sealed(queue, "slow"))
    await begun.wait()
    await bus.close(grace=10)
    assert finished == ["slow"]


async def test_a_bus_is_usable_between_start_and_close(make: Callable[[], AnyBus]) -> None:
    bus = make()
    with pytest.raises(BusUnavailable):
        await bus.check()
    await bus.start()
    await bus.check()
    await bus.close()
    with pytest.raises(BusUnavailable):
        await bus.check()


async def test_the_wait_of_a_message_counts_from_its_first_publication(bus: AnyBus) -> None:
    queue = work_queue()
    handler = MessageRecorder(Unavailable("not yet"))
    await bus.consume(queue, handler)
    await bus.publish(sealed(queue))
    await eventually(lambda: len(handler.got) == 2)
    name, labels = "osteon_queue_wait_duration_seconds", {"queue": queue.name}
    assert REGISTRY.get_sample_value(f"{name}_count", labels) == 2
    assert (REGISTRY.get_sample_value(f"{name}_sum", labels) or 0) >= DELAYS[0] / 1000


@pytest.fixture
def traced() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.set_tracer(OtelTracer("test", SimpleSpanProcessor(exporter)))
    yield exporter
    tracing.shutdown()


async def test_a_message_carries_the_context_of_its_span_also_when_it_is_tried_again(
    bus: AnyBus, traced: InMemorySpanExporter
) -> None:
    queue = work_queue()
    handler = MessageRecorder(Unavailable("not yet"))
    await bus.consume(queue, handler)
    with tracing.span("origin") as origin:
        await bus.publish(sealed(queue))
    await eventually(lambda: len(traced.get_finished_spans()) == 3)
    spans = {span.name: span for span in traced.get_finished_spans()}
    tries = [span for span in traced.get_finished_spans() if span.name == "process PackSealed"]
    assert [span.parent.span_id for span in tries] == [spans["origin"].context.span_id] * 2
    assert [span.status.is_ok for span in tries] == [False, True]
    assert {message.traceparent[:35] for message in handler.got} == {origin.traceparent[:35]}


async def test_each_message_of_a_batch_goes_on_in_the_trace_that_it_came_from(
    bus: AnyBus, traced: InMemorySpanExporter
) -> None:
    queue, batches = work_queue(), list[Any]()

    async def handle(messages: Sequence[Any]) -> None:
        batches.append(messages)
        assert tracing.current_traceparent() == ""

    origins = []
    for name in ("a", "b"):
        with tracing.span("origin") as origin:
            origins.append(origin.traceparent[:35])
            await bus.declare(queue)
            await bus.publish(sealed(queue, name))
    await bus.publish(sealed(queue, "untraced"))
    await bus.consume_batches(queue, handle, size=3, linger=5)
    await eventually(lambda: sum(map(len, batches)) == 3)
    found = {message.pack_id: message.traceparent[:35] for batch in batches for message in batch}
    assert found == {"a": origins[0], "b": origins[1], "untraced": ""}


async def test_a_request_carries_the_context_of_its_span(bus: AnyBus, traced: InMemorySpanExporter) -> None:
    queue = rpc_queue()

    async def answer(request: FindPageRequest) -> FindPageReply:
        return FindPageReply(correlation_id=request.correlation_id, cursor=tracing.current_traceparent()[:35])

    await bus.serve(queue, answer)
    with tracing.span("asking") as asking:
        page = await bus.request(queue, find(), timeout=30)
    assert page.cursor == asking.traceparent[:35]
