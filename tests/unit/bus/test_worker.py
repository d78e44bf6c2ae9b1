"""`osteon.bus.worker`: what becomes of a delivery."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from osteon.bus.envelope import DeadLetter, Envelope, History, decode, encode
from osteon.bus.port import BusUnavailable
from osteon.bus.task_pool import TaskPool
from osteon.bus.worker import DeliveryResult, Worker, classify_failure
from osteon.contracts.packs import PackSealed
from osteon.contracts.topology import MAX_ATTEMPTS, PARK_BURST
from osteon.errors import Invalid, NotFound, Unavailable
from support.bus.messages import eventually, sealed, work_queue

QUEUE = work_queue()


@dataclass
class Said:
    """A delivery that writes down what it is told; refuses to be told as often as `refusals` says."""

    envelope: Envelope = field(default_factory=lambda: encode(sealed(QUEUE)))
    stale: bool = False
    refusals: int = 0
    said: list[Any] = field(default_factory=list)

    async def ack(self) -> None:
        self._say("ack")

    async def retry(self, envelope: Envelope, step: int) -> None:
        self._say(("retry", step, envelope.history.attempts))

    async def park(self, dead: DeadLetter) -> None:
        self._say(("park", dead.reason))

    def _say(self, what: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise BusUnavailable("alarm")
        self.said.append(what)


def failing(*errors: Exception) -> Worker[PackSealed]:
    left = list(errors)

    async def handler(_: Sequence[PackSealed]) -> None:
        if left:
            raise left.pop(0)

    return Worker(QUEUE.name, PackSealed, handler, settle_pause=0)


@pytest.mark.parametrize(
    ("error", "before", "result"),
    [
        (Unavailable("down"), History(), DeliveryResult.RETRY_UNAVAILABLE),
        (BusUnavailable("down"), History(attempts=MAX_ATTEMPTS, retries=1000), DeliveryResult.RETRY_UNAVAILABLE),
        (Invalid("bad"), History(), DeliveryResult.PARKED),
        (ValueError("bug"), History(), DeliveryResult.RETRY),
        (NotFound("gone"), History(), DeliveryResult.RETRY),
        (ValueError("bug"), History(attempts=MAX_ATTEMPTS - 2), DeliveryResult.RETRY),
        (ValueError("bug"), History(attempts=MAX_ATTEMPTS - 1), DeliveryResult.PARKED),
    ],
)
def test_the_type_of_the_error_decides(error: Exception, before: History, result: DeliveryResult) -> None:
    assert classify_failure(error, before).result is result


def test_the_first_error_is_remembered_beside_the_last() -> None:
    after = classify_failure(KeyError("b"), classify_failure(ValueError("a"), History()).history).history
    assert (after.first_error, after.last_error, after.attempts) == ("ValueError: a", "KeyError: 'b'", 2)


async def test_back_off_grows_with_every_failure_of_any_kind() -> None:
    delivery = Said()
    delivery.envelope = Envelope("PackSealed", delivery.envelope.body, "c", history=History(attempts=1, retries=5))
    await failing(Unavailable("down"))([delivery])
    assert delivery.said == [("retry", 5, 1)]


async def test_an_outcome_is_reported_again_while_the_broker_refuses_it() -> None:
    delivery = Said(refusals=3)
    await failing(ValueError("bug"))([delivery])
    assert delivery.said == [("retry", 0, 1)]


async def test_a_stale_delivery_is_not_handled() -> None:
    handled = []

    async def handler(batch: Sequence[PackSealed]) -> None:
        handled.extend(batch)

    await Worker(QUEUE.name, PackSealed, handler)([Said(stale=True)])
    assert handled == []


async def test_a_body_that_cannot_be_read_is_parked_and_the_rest_of_its_batch_handled() -> None:
    bad, good, other = Said(Envelope("PackSealed", b"[]", "c")), Said(), Said()
    await failing()([bad, good, other])
    assert bad.said == [("park", "invalid")]
    assert good.said == other.said == ["ack"]


async def test_a_pool_outlives_a_bug_in_settling() -> None:
    worked = []

    async def work(batch: Sequence[Said]) -> None:
        worked.extend(batch)
        if len(worked) == 1:
            raise RuntimeError("bug")

    pool: TaskPool[Said] = TaskPool(work, tasks=1)
    pool.inbox.put_nowait(Said())
    pool.inbox.put_nowait(Said())
    await eventually(lambda: len(worked) == 2)
    await pool.stop(1)


async def test_a_batch_is_gathered_for_as_long_as_the_one_before_took_while_more_comes() -> None:
    batches: list[int] = []
    proceed = asyncio.Event()

    async def work(batch: Sequence[Said]) -> None:
        batches.append(len(batch))
        await proceed.wait()

    pool: TaskPool[Said] = TaskPool(work, tasks=1, size=100, linger=0.001)
    pool.inbox.put_nowait(Said())
    await eventually(lambda: batches == [1])
    pool.inbox.put_nowait(Said())
    await asyncio.sleep(0.5)
    proceed.set()
    await eventually(lambda: not pool.inbox.qsize())
    pool.inbox.put_nowait(Said())  # the second batch is being gathered, long after its linger
    await asyncio.sleep(0.01)
    pool.inbox.put_nowait(Said())
    await eventually(lambda: len(batches) == 2)
    assert batches == [1, 3]
    pool.inbox.put_nowait(Said())  # nothing came while that was handled: no reason to wait
    await eventually(lambda: len(batches) == 3)
    await pool.stop(1)


async def test_stopping_a_pool_cancels_what_does_not_end_in_time_and_begins_nothing_new() -> None:
    begun, cancelled = [], asyncio.Event()

    async def work(batch: Sequence[Said]) -> None:
        begun.extend(batch)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    pool: TaskPool[Said] = TaskPool(work, tasks=2)
    for _ in range(5):
        pool.inbox.put_nowait(Said())
    await eventually(lambda: len(begun) == 2)
    await pool.stop(0.01)
    assert cancelled.is_set()
    assert len(begun) == 2


def invalid_from(number: int, count: int) -> list[Exception | None]:
    """Return what handling each message raises: `number` are done, then `count` are bad."""
    return [None] * number + [Invalid("bad")] * count


async def outcomes(errors: list[Exception | None]) -> list[str]:
    left = list(errors)

    async def handler(_: Sequence[PackSealed]) -> None:
        if (error := left.pop(0)) is not None:
            raise error

    worker = Worker(QUEUE.name, PackSealed, handler)
    deliveries = [Said() for _ in errors]
    for delivery in deliveries:
        await worker([delivery])
    return [delivery.said[0] if delivery.said[0] == "ack" else delivery.said[0][0] for delivery in deliveries]


async def test_a_consumer_that_handles_nothing_parks_a_few_and_lets_the_others_wait() -> None:
    said = await outcomes(invalid_from(0, PARK_BURST + 30))
    assert (said.count("park"), said[PARK_BURST:]) == (PARK_BURST, ["retry"] * 30)


async def test_messages_that_succeed_allow_others_to_be_parked_again() -> None:
    bad = invalid_from(0, PARK_BURST + 1)
    said = await outcomes([*bad, *invalid_from(10, 2)])
    assert said[-2:] == ["park", "retry"]


async def test_a_message_that_is_held_back_keeps_its_history_and_waits_the_longest() -> None:
    worker = failing(*[Invalid("bad")] * 100)
    delivery = Said()
    for _ in range(PARK_BURST):
        await worker([Said()])
    delivery.envelope = Envelope("PackSealed", delivery.envelope.body, "c", history=History(attempts=9, retries=12))
    await worker([delivery])
    assert delivery.said == [("retry", 12, 10)]


def test_the_place_of_an_error_is_the_last_line_of_osteon_that_it_passed() -> None:
    try:
        decode(Envelope("PackSealed", b"{", "c"), PackSealed)
    except Invalid as error:
        assert classify_failure(error, History()).history.place.startswith("osteon.bus.envelope, line ")
