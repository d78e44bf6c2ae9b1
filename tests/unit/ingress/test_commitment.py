"""What the DIMSE door passes on of storage commitment, and what it refuses by itself."""

import asyncio

import pytest

from osteon.bus.port import BusUnavailable, RequestFailed
from osteon.contracts.commitment import CommitmentReply, CommitmentStatusReply, CommitmentStatusRequest
from osteon.contracts.failure import FailureReply
from osteon.contracts.topology import COMMITMENT_STATUS
from osteon.dimse.handler import ActionRequest, AssociationInfo, EventReport, Outcome, PresentationContext
from osteon.dimse.sop_classes import COMMITMENT, COMMITMENT_INSTANCE
from osteon.dimse.status import Status
from osteon.errors import FailureKind
from osteon_ingress.commitment import AssociationCommitments
from osteon_ingress.handlers import IngressAssociationHandler
from support.dimse.raw_peer import EXPLICIT

INFO = AssociationInfo("a1", "MODALITY", "OSTEON", "192.0.2.1", 5000)
CONTEXT = PresentationContext(1, COMMITMENT, EXPLICIT)
REQUEST = ActionRequest(1, CONTEXT, b"information")


def reported(sop_class: str = COMMITMENT, instance: str = COMMITMENT_INSTANCE) -> EventReport:
    return EventReport(1, CONTEXT, sop_class, instance, 1, b"information")


class DenyAll:
    """Nobody may do anything."""

    def allows(self, *_: object) -> bool:
        return False


class Nothing:
    """A spool that is not needed here."""

    def open_association(self, _: object) -> None:
        return None


class Away:
    """A broker that is away."""

    async def request(self, *_: object, **__: object) -> None:
        raise BusUnavailable("away")


class FakeReporter:
    """Answers each report with `outcome`."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.sent: list[tuple[object, ...]] = []

    async def report(self, *report: object) -> tuple[Outcome, None]:
        self.sent.append(report)
        return self.outcome, None


async def test_who_may_not_ask_for_it_is_answered_0124():
    association = IngressAssociationHandler(INFO, Nothing(), Away(), DenyAll(), sender=Nothing(), inbox=Nothing())
    assert (await association.action(REQUEST, None)).status is Status.NOT_AUTHORIZED
    assert (await association.report(reported())).status is Status.NOT_AUTHORIZED


async def test_without_a_broker_requests_and_reports_fail_for_now():
    commitments = AssociationCommitments(INFO, Away())
    assert (await commitments.action(REQUEST, None)).status is Status.PROCESSING_FAILURE
    assert (await commitments.report(reported())).status is Status.PROCESSING_FAILURE


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.INVALID, Status.INVALID_ARGUMENT_VALUE),
        (FailureKind.UNREADABLE, Status.INVALID_ARGUMENT_VALUE),
        (FailureKind.NOT_FOUND, Status.INVALID_ARGUMENT_VALUE),
        (FailureKind.UNSUPPORTED, Status.NO_SUCH_EVENT_TYPE),
        (FailureKind.REFUSED, Status.NOT_AUTHORIZED),
        (FailureKind.UNAVAILABLE, Status.PROCESSING_FAILURE),
    ],
)
async def test_the_kind_of_a_refusal_decides_the_status_and_its_text_is_the_comment(kind, status):
    class Refusing:
        async def request(self, *_: object, **__: object) -> None:
            raise RequestFailed(FailureReply(correlation_id="a1", kind=kind, text="why\nnot"))

    commitments = AssociationCommitments(INFO, Refusing())
    expected = Outcome(status, "why not")
    assert await commitments.action(REQUEST, FakeReporter(Outcome(Status.SUCCESS))) == expected
    assert await commitments.report(reported()) == expected


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (reported(sop_class="1.2.3"), Status.SOP_CLASS_NOT_SUPPORTED),
        (reported(instance="1.2.3"), Status.NO_SUCH_SOP_INSTANCE),
    ],
    ids=["class", "instance"],
)
async def test_reports_of_something_else_are_refused(report, status):
    assert (await AssociationCommitments(INFO, Away()).report(report)).status is status


class CommitmentDispatcher:
    """Accepts, and has a report at the second question."""

    def __init__(self) -> None:
        self.asked: list[CommitmentStatusRequest] = []

    async def request(self, queue: object, message: object, *, timeout: float) -> object:
        if queue is not COMMITMENT_STATUS:
            return CommitmentReply(correlation_id="", id="c1")
        self.asked.append(message)
        if message.delivered:
            return CommitmentStatusReply(correlation_id="", done=True)
        event = 2 if len(self.asked) > 1 and message.open else 0
        return CommitmentStatusReply(correlation_id="", event_type=event, information=b"report")

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.asked) < count:
                await asyncio.sleep(0.001)

    @property
    def questions(self) -> list[tuple[bool, bool]]:
        return [(each.open, each.delivered) for each in self.asked]


async def test_a_report_is_sent_once_it_is_there_and_its_delivery_reported():
    dispatcher, reporter = CommitmentDispatcher(), FakeReporter(Outcome(Status.SUCCESS))
    commitments = AssociationCommitments(INFO, dispatcher, first_poll=0.001)
    assert (await commitments.action(REQUEST, reporter)).status is Status.SUCCESS
    await dispatcher.until(3)
    assert reporter.sent == [(CONTEXT, COMMITMENT, COMMITMENT_INSTANCE, 2, b"report")]
    assert dispatcher.questions == [(True, False), (True, False), (True, True)]
    await commitments.close()


async def test_a_report_that_is_refused_is_left_to_another_association():
    dispatcher, reporter = CommitmentDispatcher(), FakeReporter(Outcome(Status.PROCESSING_FAILURE))
    commitments = AssociationCommitments(INFO, dispatcher, first_poll=0.001)
    await commitments.action(REQUEST, reporter)
    await dispatcher.until(3)
    assert dispatcher.questions[-1] == (False, False)
    await commitments.close()


async def test_an_association_that_ends_before_the_report_is_reported():
    dispatcher = CommitmentDispatcher()
    commitments = AssociationCommitments(INFO, dispatcher, first_poll=60)
    await commitments.action(REQUEST, FakeReporter(Outcome(Status.SUCCESS)))
    await asyncio.sleep(0)
    await commitments.close()
    assert dispatcher.questions == [(False, False)]
