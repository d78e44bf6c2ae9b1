"""C-MOVE and C-GET at the door, with a dispatcher that says what a test tells it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from osteon.bus.port import BusUnavailable, RequestFailed, RequestTimeout
from osteon.contracts.base import Message
from osteon.contracts.failure import FailureReply
from osteon.contracts.retrieve import (
    MoveCounters,
    MoveProgressed,
    MoveProgressReply,
    MoveProgressRequest,
    PlannedInstance,
    RetrievePlanReply,
    RetrievePlanRequest,
    StartMoveReply,
    StartMoveRequest,
)
from osteon.contracts.topology import RpcQueue
from osteon.dimse.errors import AssociationAborted
from osteon.dimse.handler import (
    AssociationInfo,
    GetRequest,
    MoveRequest,
    Outcome,
    PresentationContext,
    RetrieveResponse,
)
from osteon.dimse.status import Status
from osteon.errors import FailureKind, Unavailable
from osteon.remotes.port import Permission
from osteon.sending.suboperations import SubOperationResult
from osteon_ingress.handlers import IngressAssociationHandler
from osteon_ingress.move_progress import MovePolling, MoveProgressInbox
from osteon_ingress.retrieve import get, move
from support.bus.messages import eventually

INFO = AssociationInfo("a1", "VIEWER", "OSTEON", "192.0.2.9", 5000)
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
DONE = Outcome(Status.SUCCESS)
FAST = MovePolling(interval=0.001, retry=0.001)
SLOW = MovePolling(interval=60.0, retry=0.001)
Answer = Message | Exception | Callable[[Message], Any]


class RetrieveBus:
    """Answers requests from a list: messages, errors, or what a function of the request gives (awaited)."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []
        self.inbox = MoveProgressInbox()
        self.handlers: dict[str, Callable[[MoveProgressed], Any]] = {}

    async def subscribe(self, message: type[Message], handler: Callable[[Any], Any], *, address: str = "") -> None:
        assert message is MoveProgressed
        self.handlers[address] = handler

    async def publish(self, counts: MoveCounters) -> None:
        """Deliver an event to the process that asked for the C-MOVE."""
        address = self.asked[0].progress_address
        event = MoveProgressed.model_validate({**counts.model_dump(), "address": address})
        await self.handlers[address.partition(".")[0]](event)

    async def request(self, queue: RpcQueue[Any, Any], message: Message, *, timeout: float) -> Message:
        assert isinstance(message, queue.request)
        self.asked.append(message)
        answer = self.answers.pop(0) if self.answers else RequestTimeout("no answer")
        if callable(answer) and not isinstance(answer, Message):
            answer = await answer(message)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, queue.reply)
        return answer


class FakeSending:
    """Asks for all instances two ahead, and answers each with the next outcome; an error ends it."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.closed = False

    async def send(
        self, association: object, instances: AsyncIterable[PlannedInstance], *, purpose: str, traceparent: str
    ) -> AsyncGenerator[SubOperationResult]:
        assert purpose == "c-get"
        ahead: list[PlannedInstance] = []
        try:
            async for instance in instances:
                ahead.append(instance)
                if len(ahead) > 2:
                    yield self._sent(ahead.pop(0))
            while ahead:
                yield self._sent(ahead.pop(0))
        finally:
            self.closed = True

    def _sent(self, instance: PlannedInstance) -> SubOperationResult:
        outcome = self.outcomes.pop(0) if self.outcomes else DONE
        if isinstance(outcome, Exception):
            raise outcome
        return SubOperationResult(instance, outcome)


def context(sop_class: str, extended: bytes = b"") -> PresentationContext:
    return PresentationContext(3, sop_class, "1.2.840.10008.1.2", extended)


def move_request(extended: bytes = b"") -> MoveRequest:
    return MoveRequest(7, context(STUDY_MOVE, extended), b"identifier", asyncio.Event(), "SINK")


def get_request() -> GetRequest:
    return GetRequest(7, context(STUDY_GET), b"identifier", asyncio.Event(), object())  # type: ignore[arg-type]


def progress(completed: int, *, failed: int = 0, total: int = 3, **fields: Any) -> MoveProgressReply:
    return MoveProgressReply(
        correlation_id="a1", completed=completed, failed=failed, remaining=total - completed - failed, **fields
    )


def started(total: int = 3) -> StartMoveReply:
    return StartMoveReply(correlation_id="a1", job_id="j1", total=total)


def planned(*numbers: int) -> list[PlannedInstance]:
    return [
        PlannedInstance(
            sop_class_uid="1.2",
            sop_instance_uid=f"1.2.{number}",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            key="k",
            offset=0,
            length=1,
        )
        for number in numbers
    ]


def plan(*numbers: int, **fields: Any) -> RetrievePlanReply:
    return RetrievePlanReply(correlation_id="a1", instances=planned(*numbers), **{"total": len(numbers), **fields})


def failed(kind: FailureKind, text: str = "") -> RequestFailed:
    return RequestFailed(FailureReply(correlation_id="a1", kind=kind, text=text))


async def all_of(responses: AsyncIterator[RetrieveResponse]) -> list[RetrieveResponse]:
    return [response async for response in responses]


async def moved(
    bus: RetrieveBus, request: MoveRequest | None = None, polling: MovePolling = FAST
) -> AsyncGenerator[RetrieveResponse]:
    await bus.inbox.subscribe(bus)  # type: ignore[arg-type]
    responses = move(INFO, request or move_request(), bus, bus.inbox, polling)  # type: ignore[arg-type]
    async with aclosing(responses):
        async for response in responses:
            yield response


def got(bus: RetrieveBus, sending: FakeSending, request: GetRequest | None = None) -> AsyncGenerator[RetrieveResponse]:
    return get(INFO, request or get_request(), bus, sending)  # type: ignore[arg-type]


async def test_a_move_is_begun_and_polled_to_its_end() -> None:
    bus = RetrieveBus(
        started(),
        progress(1),
        progress(2, failed=1, done=True, failed_uids=["1.2.9"], error_comment="1 of 3 failed"),
    )
    responses = await all_of(moved(bus))
    begun, *watched = bus.asked
    assert isinstance(begun, StartMoveRequest)
    assert (begun.destination, begun.message_id, begun.identifier) == ("SINK", 7, b"identifier")
    assert (begun.calling_aet, begun.called_aet, begun.sop_class_uid) == ("VIEWER", "OSTEON", STUDY_MOVE)
    assert [(w.job_id, w.cancel) for w in watched] == [("j1", False), ("j1", False)]
    assert responses == [
        RetrieveResponse(Status.PENDING, 3),
        RetrieveResponse(Status.PENDING, 2, 1),
        RetrieveResponse(Status(0xB000), 0, 2, 1, 0, ("1.2.9",), "1 of 3 failed"),
    ]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.NOT_FOUND, 0xA801),
        (FailureKind.INVALID, 0xA900),
        (FailureKind.UNAVAILABLE, 0xA701),
        (FailureKind.UNREADABLE, Status.UNABLE_TO_PROCESS),
        (FailureKind.FAILED, 0xC000),
    ],
)
async def test_a_move_that_cannot_begin_is_answered_with_its_status(kind: FailureKind, status: int) -> None:
    bus = RetrieveBus(failed(kind, "SINK is not known"))
    (response,) = await all_of(moved(bus))
    assert (response.status, response.comment) == (status, "SINK is not known")


async def test_a_move_of_nothing_is_a_success() -> None:
    (response,) = await all_of(moved(RetrieveBus(StartMoveReply(correlation_id="a1"))))
    assert (response.status, response.comment) == (Status.SUCCESS, "")


@pytest.mark.parametrize("error", [RequestTimeout("no answer"), BusUnavailable("no broker")])
async def test_without_an_answer_to_its_beginning_a_retrieval_is_out_of_resources(error: Exception) -> None:
    for responses in (moved(RetrieveBus(error)), got(RetrieveBus(error), FakeSending())):
        (response,) = await all_of(responses)
        assert response.status is Status.UNABLE_TO_CALCULATE_MATCHES
        assert "try again" in response.comment


async def test_a_move_is_watched_on_after_requests_without_an_answer() -> None:
    lost = [RequestTimeout("no answer"), BusUnavailable("no broker")]
    bus = RetrieveBus(started(), progress(1), *lost, progress(3, done=True))
    responses = await all_of(moved(bus))
    assert [r.completed for r in responses] == [0, 1, 3]
    assert responses[-1].status is Status.SUCCESS
    assert [w.cancel for w in bus.asked[1:]] == [False, False, False, False]


async def test_a_move_is_watched_on_while_a_part_of_its_dispatcher_is_down() -> None:
    bus = RetrieveBus(started(), failed(FailureKind.UNAVAILABLE), progress(3, done=True))
    assert [r.completed for r in await all_of(moved(bus))] == [0, 3]


async def test_a_move_whose_job_is_gone_ends_with_a_failure_that_says_so() -> None:
    bus = RetrieveBus(started(), progress(1), failed(FailureKind.NOT_FOUND, "the job was deleted"))
    *_, last = await all_of(moved(bus))
    assert (last.status, last.comment) == (Status.UNABLE_TO_PERFORM_SUB_OPERATIONS, "the job was deleted")
    assert len(bus.asked) == 3, "and is not cancelled"


async def test_a_move_of_which_nothing_is_known_any_more_ends_with_a_failure_that_says_so() -> None:
    bus = RetrieveBus(started(), progress(1), *[RequestTimeout("no answer")] * 1000)
    responses = await all_of(moved(bus, polling=replace(FAST, timeout=0.01)))
    assert responses[-1].status is Status.UNABLE_TO_PERFORM_SUB_OPERATIONS
    assert responses[-1].comment == "C-MOVE status unknown; it may still be running"


async def test_a_cancel_stops_the_job_at_once_and_waits_for_its_last_counts() -> None:
    request, cancelling = move_request(), asyncio.Event()

    async def cancel(message: MoveProgressRequest) -> Message:
        cancelling.set()
        return progress(1)

    bus = RetrieveBus(started(), cancel)
    following = asyncio.create_task(all_of(moved(bus, request, SLOW)))
    await eventually(lambda: len(bus.asked) == 1)
    request.cancelled.set()
    await asyncio.wait_for(cancelling.wait(), 10)
    await bus.publish(progress(2, done=True, cancelled=True))
    responses = await following
    assert [w.cancel for w in bus.asked[1:]] == [True]
    assert (responses[-1].status, responses[-1].completed, responses[-1].remaining) == (Status.CANCEL, 2, 1)


async def test_a_move_whose_association_is_gone_is_cancelled() -> None:
    bus = RetrieveBus(started(), progress(1))
    following = asyncio.create_task(all_of(moved(bus, polling=SLOW)))
    await eventually(lambda: len(bus.asked) == 1)
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert [type(message) for message in bus.asked] == [StartMoveRequest, MoveProgressRequest]
    assert bus.asked[-1].cancel


async def test_events_become_responses_without_a_poll() -> None:
    bus = RetrieveBus(started())
    responses = moved(bus, polling=SLOW)
    assert (await anext(responses)).remaining == 3
    for completed in (1, 2):
        await bus.publish(progress(completed))
        assert (await anext(responses)) == RetrieveResponse(Status.PENDING, 3 - completed, completed)
    await bus.publish(progress(3, done=True, status=0))
    assert (await anext(responses)) == RetrieveResponse(Status.SUCCESS, 0, 3)
    assert [response async for response in responses] == []
    assert len(bus.asked) == 1


async def test_an_event_that_comes_before_the_job_is_known_counts() -> None:
    async def begin(_: StartMoveRequest) -> Message:
        await bus.publish(progress(3, done=True, status=0))
        return started()

    bus = RetrieveBus(begin)
    assert [r.status for r in await all_of(moved(bus))] == [Status.PENDING, Status.SUCCESS]


async def test_counts_that_were_overtaken_do_not_go_back() -> None:
    bus = RetrieveBus(started())
    responses = moved(bus, polling=SLOW)
    await anext(responses)
    await bus.publish(progress(2))
    await bus.publish(progress(1))
    assert (await anext(responses)).completed == 2
    await bus.publish(progress(3, done=True, status=0))
    await bus.publish(progress(2))
    assert [(r.status, r.completed) async for r in responses] == [(Status.SUCCESS, 3)]


async def test_a_dispatcher_that_answers_without_news_is_waited_for() -> None:
    bus = RetrieveBus(started(), *[progress(0)] * 200, progress(3, done=True, status=0))
    polling = replace(FAST, interval=0.002, timeout=0.2)
    responses = await all_of(moved(bus, polling=polling))
    assert [(r.status, r.completed) for r in responses] == [
        (Status.PENDING, 0),
        (Status.PENDING, 0),
        (Status.SUCCESS, 3),
    ]


async def test_a_get_sends_the_instances_of_all_pages_and_counts_the_answers() -> None:
    bus = RetrieveBus(plan(1, 2, total=4, cursor="x"), plan(3, 4, total=4))
    disk_full = Outcome(Status.OUT_OF_RESOURCES, "disk full")
    sending = FakeSending(DONE, disk_full, Outcome(Status(0xB007)))
    responses = await all_of(got(bus, sending))
    assert all(isinstance(question, RetrievePlanRequest) for question in bus.asked)
    assert [question.cursor for question in bus.asked] == [None, "x"]
    assert [(r.remaining, r.completed, r.failed, r.warning) for r in responses] == [
        (4, 0, 0, 0),
        (3, 1, 0, 0),
        (2, 1, 1, 0),
        (1, 1, 1, 1),
        (0, 2, 1, 1),
        (0, 2, 1, 1),
    ]
    last = responses[-1]
    assert (last.status, last.failed_uids) == (Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES, ("1.2.2",))
    assert "disk full" in last.comment


async def test_a_get_of_nothing_is_a_success() -> None:
    *_, last = await all_of(got(RetrieveBus(plan()), FakeSending()))
    assert (last.status, last.completed) == (Status.SUCCESS, 0)


async def test_a_get_that_cannot_be_planned_is_answered_with_the_status() -> None:
    bus = RetrieveBus(failed(FailureKind.INVALID, "(0008,0052) is missing"))
    (response,) = await all_of(got(bus, FakeSending()))
    assert (response.status, response.comment) == (0xA900, "(0008,0052) is missing")


async def test_a_cancelled_get_sends_no_further_instance() -> None:
    request, sending = get_request(), FakeSending()
    responses = got(RetrieveBus(plan(*range(9))), sending, request)
    for _ in range(3):
        assert (await anext(responses)).status is Status.PENDING
    request.cancelled.set()
    last = await anext(responses)
    assert (last.status, last.remaining, last.completed) == (Status.CANCEL, 7, 2)
    assert sending.closed


async def test_a_get_that_is_cancelled_when_all_was_sent_is_a_success() -> None:
    request = get_request()
    request.cancelled.set()
    *_, last = await all_of(got(RetrieveBus(plan(1)), FakeSending(), request))
    assert last.status is Status.SUCCESS


@pytest.mark.parametrize("error", [Unavailable("no object store"), AssociationAborted("gone")])
async def test_what_could_not_be_sent_for_want_of_a_part_is_failed_and_listed(error: Exception) -> None:
    responses = await all_of(got(RetrieveBus(plan(1, 2, 3, 4, 5)), FakeSending(DONE, error)))
    last = responses[-1]
    assert (last.status, last.completed, last.failed) == (Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES, 1, 4)
    assert last.failed_uids[:2] == ("1.2.2", "1.2.3")
    assert str(error) in last.comment


@pytest.mark.parametrize("second", [RequestTimeout("no answer"), failed(FailureKind.UNAVAILABLE)])
async def test_a_plan_that_ends_early_is_no_success(second: Answer) -> None:
    responses = await all_of(got(RetrieveBus(plan(1, 2, total=4, cursor="x"), second), FakeSending()))
    last = responses[-1]
    assert last.status.is_failure or last.status.is_warning
    assert last.completed + last.failed == 4
    assert last.failed >= 2


class Nobody:
    """What may do nothing."""

    def allows(self, info: AssociationInfo, permission: Permission) -> bool:
        return False

    def open_association(self, info: AssociationInfo) -> None: ...


async def test_who_may_not_retrieve_is_refused() -> None:
    nobody: Any = Nobody()
    association = IngressAssociationHandler(INFO, nobody, RetrieveBus(), nobody, sender=FakeSending(), inbox=nobody)  # type: ignore[arg-type]
    for responses, word in ((association.move(move_request()), "move"), (association.get(get_request()), "get")):
        (response,) = await all_of(responses)
        assert (response.status, response.comment) == (Status.NOT_AUTHORIZED, f"VIEWER may not {word} here")
