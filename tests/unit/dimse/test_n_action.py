"""Storage commitment in the upper layer: roles, N-ACTION with its statuses, N-EVENT-REPORT in both directions."""

import asyncio

import pytest

from osteon.dimse.config import Remote, RequestedContext
from osteon.dimse.errors import NotAccepted
from osteon.dimse.handler import ActionRequest, EventReport, Outcome, Reporter
from osteon.dimse.requestor import associate
from osteon.dimse.sop_classes import COMMITMENT, COMMITMENT_INSTANCE
from osteon.dimse.status import Status
from support.dimse.raw_peer import EXPLICIT, SUCCESS, RecordingHandler, running

USER = RequestedContext(abstract_syntax=COMMITMENT, transfer_syntaxes=(EXPLICIT,))
PROVIDER = RequestedContext(abstract_syntax=COMMITMENT, transfer_syntaxes=(EXPLICIT,), scu=False, scp=True)


def remote(port: int) -> Remote:
    return Remote(aet="OSTEON", host="127.0.0.1", port=port, calling_aet="PEER")


async def asked(
    port: int,
    *,
    sop_class: str = COMMITMENT,
    instance: str = COMMITMENT_INSTANCE,
    action: int = 1,
    data: bytes = b"data",
) -> Outcome:
    async with associate(remote(port), [USER]) as association:
        return (await association.action(association.contexts[0], sop_class, instance, action, data))[0]


async def test_a_request_reaches_the_handler_with_its_information():
    requests: list[ActionRequest] = []

    async def take(request: ActionRequest, _: Reporter | None) -> Outcome:
        requests.append(request)
        return SUCCESS

    async with running(RecordingHandler(on_action=take)) as acceptor:
        assert await asked(acceptor.port, data=b"data" * 50_000) == SUCCESS
    assert [(each.context.abstract_syntax, each.information) for each in requests] == [(COMMITMENT, b"data" * 50_000)]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"sop_class": "1.2.3"}, Status.SOP_CLASS_NOT_SUPPORTED),
        ({"instance": "1.2.3"}, Status.NO_SUCH_SOP_INSTANCE),
        ({"action": 2}, Status.NO_SUCH_ACTION_TYPE),
        ({"data": b""}, Status.INVALID_ARGUMENT_VALUE),
        ({"data": bytes(2002)}, Status.RESOURCE_LIMITATION),
    ],
    ids=["class", "instance", "action", "no data set", "too long"],
)
async def test_a_request_that_cannot_be_taken_gets_its_status(wrong, status):
    async with running(max_information=2000) as acceptor:
        assert (await asked(acceptor.port, **wrong)).status == status


async def test_a_handler_that_fails_is_a_processing_failure():
    async def fail(*_: object) -> Outcome:
        raise RuntimeError("on purpose")

    async with running(RecordingHandler(on_action=fail)) as acceptor:
        assert (await asked(acceptor.port)).status == Status.PROCESSING_FAILURE


async def test_the_report_can_go_on_the_requesters_association():
    reported: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    tasks = []

    async def take(request: ActionRequest, reporter: Reporter | None) -> Outcome:
        async def send() -> None:
            outcome, _ = await reporter.report(request.context, COMMITMENT, COMMITMENT_INSTANCE, 2, b"result")
            reported.set_result(outcome)

        tasks.append(asyncio.create_task(send()))
        return SUCCESS

    got: list[EventReport] = []
    came = asyncio.Event()

    async def note(report: EventReport) -> Outcome:
        got.append(report)
        came.set()
        return Outcome(Status.INVALID_ARGUMENT_VALUE, "why")

    async with (
        running(RecordingHandler(on_action=take)) as acceptor,
        associate(remote(acceptor.port), [USER], reports=note) as association,
    ):
        await association.action(association.contexts[0], COMMITMENT, COMMITMENT_INSTANCE, 1, b"data")
        await came.wait()
        assert await reported == Outcome(Status.INVALID_ARGUMENT_VALUE, "why")
    assert [(report.event_type, report.information) for report in got] == [(2, b"result")]


async def test_a_provider_may_ask_for_an_association_to_report_on():
    async with running() as acceptor:
        async with associate(remote(acceptor.port), [PROVIDER]) as association:
            (context,) = association.contexts
            assert (context.scu, context.scp) == (False, True)
            outcome, _ = await association.report(context, COMMITMENT, COMMITMENT_INSTANCE, 1, b"result")
            assert outcome == SUCCESS
            with pytest.raises(NotAccepted):
                await association.action(context, COMMITMENT, COMMITMENT_INSTANCE, 1, b"data")
        (report,) = acceptor.handler.reports
        assert (report.sop_class_uid, report.sop_instance_uid) == (COMMITMENT, COMMITMENT_INSTANCE)
        assert (report.event_type, report.information) == (1, b"result")


async def test_both_roles_can_be_granted():
    both = RequestedContext(abstract_syntax=COMMITMENT, transfer_syntaxes=(EXPLICIT,), scu=True, scp=True)
    async with running() as acceptor, associate(remote(acceptor.port), [both]) as association:
        assert (association.contexts[0].scu, association.contexts[0].scp) == (True, True)
