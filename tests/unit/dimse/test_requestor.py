"""Associations that we ask our own acceptor for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest

from osteon.dimse.handler import EventReport, FindRequest, FindResponse, Outcome, StoreRequest
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.requestor import (
    AssociationAborted,
    NoAnswer,
    NotAccepted,
    Remote,
    RequestedContext,
    RequestorConfig,
    associate,
)
from osteon.dimse.status import Status
from osteon.errors import Invalid
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    STUDY_FIND,
    SUCCESS,
    DataSetSink,
    RawPeer,
    RecordingHandler,
    RunningAcceptor,
    command_set,
    data_tf,
    echo_rq,
    pdu,
    pdv,
    running,
    store_message,
)
from support.dimse.scripted_acceptor import ALL, ECHO, FIND, STORE, accept, scripted


def remote(service: RunningAcceptor, **more: object) -> Remote:
    return Remote(aet="OSTEON", host="127.0.0.1", port=service.port, **more)


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def pending(count: int, size: int = 100) -> object:
    async def matches(request: FindRequest) -> AsyncIterator[FindResponse]:
        for number in range(count):
            yield FindResponse(Status.PENDING, number.to_bytes(4, "big") * (size // 4))
        yield FindResponse(Status.SUCCESS)

    return matches


async def test_an_association_is_released_when_the_block_is_left() -> None:
    async with running() as service:
        async with associate(remote(service, calling_aet="US"), ALL) as association:
            assert association.open
            assert (service.handler.info.calling_aet, service.handler.info.called_aet) == ("US", "OSTEON")
        assert not association.open
        assert service.log.ends == [AssociationEnd.RELEASED]


async def test_an_association_is_aborted_when_an_exception_leaves_the_block() -> None:
    async with running() as service:
        with pytest.raises(ZeroDivisionError):
            async with associate(remote(service), ALL):
                raise ZeroDivisionError
        await service.handler.ended.wait()
        assert service.log.ends == [AssociationEnd.ABORTED_BY_PEER]


async def test_an_association_is_aborted_when_its_task_is_cancelled() -> None:
    async with running() as service:
        begun = asyncio.Event()

        async def hold() -> None:
            async with associate(remote(service), ALL):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await service.handler.ended.wait()
        assert service.log.ends == [AssociationEnd.ABORTED_BY_PEER]


async def test_echo_says_what_the_peer_answers() -> None:
    async def refuse() -> Outcome:
        return Outcome(Status.NOT_AUTHORIZED, "not you")

    async with running(RecordingHandler(on_echo=refuse)) as service, associate(remote(service), ALL) as association:
        assert await association.echo() == Outcome(Status.NOT_AUTHORIZED, "not you")


async def test_a_status_without_a_name_is_passed_on() -> None:
    async def warn() -> Outcome:
        return Outcome(Status(0xB123))

    async with running(RecordingHandler(on_echo=warn)) as service, associate(remote(service), ALL) as association:
        status = (await association.echo()).status
        assert (status, status.is_warning, status.is_failure) == (0xB123, True, False)


async def test_what_is_stored_is_what_was_sent() -> None:
    parts = [bytes([number]) * (number * 1111) for number in range(40)]
    async with running() as service, associate(remote(service), ALL) as association:
        context = association.context_for(CT)
        for number in range(3):
            outcome = await association.store(
                context, CT, f"1.2.{number}", parts_of(*parts), move_originator=("MOVER", 7)
            )
            assert outcome == SUCCESS
        assert [bytes(sink.data) for sink in service.handler.sinks] == [b"".join(parts)] * 3
        assert service.handler.sinks[2].request == StoreRequest(3, CT, "1.2.2", "MOVER", 7)


async def test_a_context_is_found_by_the_preferred_transfer_syntax() -> None:
    asked = [
        RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,)),
        RequestedContext(abstract_syntax=CT, transfer_syntaxes=(IMPLICIT,)),
    ]
    async with running() as service, associate(remote(service), asked) as association:
        one, two = association.contexts
        assert association.context_for(CT) is one
        assert association.context_for(CT, "1.2.3", IMPLICIT, EXPLICIT) is two
        assert association.context_for(CT, "1.2.3") is None
        assert association.context_for(MR) is None


async def test_operations_on_no_accepted_context_are_not_accepted() -> None:
    scp_only = RequestedContext(abstract_syntax=MR, transfer_syntaxes=(EXPLICIT,))
    async with running() as service, associate(remote(service), [STORE, scp_only]) as association:
        context = association.context_for(CT)
        with pytest.raises(NotAccepted):
            await association.echo()
        with pytest.raises(NotAccepted, match="role of service class provider"):
            await association.report(context, CT, "1.2", 1, b"")
        async with associate(remote(service), [FIND]) as other:
            with pytest.raises(NotAccepted, match="another association"):
                await other.store(context, CT, "1.2", parts_of(b"data"))


@pytest.mark.parametrize("length", [3, 5])
async def test_a_data_set_of_another_length_than_announced_is_never_stored(length: int) -> None:
    async with running() as service, associate(remote(service), ALL) as association:
        with pytest.raises(Invalid, match="the data set has"):
            await association.store(association.context_for(CT), CT, "1.2", parts_of(b"da", b"ta"), length=length)
        await service.handler.ended.wait()
        assert [sink.end for sink in service.handler.sinks] == ["abort"]
        with pytest.raises(AssociationAborted):
            await association.echo()


async def test_an_association_survives_a_source_that_fails_before_its_first_part() -> None:
    async def broken() -> AsyncIterator[bytes]:
        raise OSError("no such object")
        yield b""

    async with running() as service, associate(remote(service), ALL) as association:
        with pytest.raises(OSError, match="no such object"):
            await association.store(association.context_for(CT), CT, "1.2", broken())
        assert await association.echo() == SUCCESS
    assert service.handler.sinks == []


async def test_a_source_that_fails_half_way_aborts_the_association() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError("the store is gone")

    async with running() as service, associate(remote(service), ALL) as association:
        with pytest.raises(OSError, match="the store is gone"):
            await association.store(association.context_for(CT), CT, "1.2", broken())
        assert not association.open
    assert [sink.end for sink in service.handler.sinks] == ["abort"]


async def test_a_peer_that_does_not_read_makes_the_source_wait() -> None:
    gate, taken = asyncio.Event(), 0

    def stuck(sink: DataSetSink) -> object:
        return None if gate.is_set() else asyncio.ensure_future(gate.wait())

    async def source() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(400):
            taken += 1
            yield bytes(100_000)

    async with (
        running(RecordingHandler(on_write=stuck, keep=False)) as service,
        associate(remote(service), ALL) as association,
    ):
        storing = asyncio.create_task(association.store(association.context_for(CT), CT, "1.2", source()))
        before = -1
        while taken != before:
            before = taken
            await asyncio.sleep(0.05)
        assert taken < 200
        gate.set()
        assert await storing == SUCCESS
    assert service.handler.sinks[0].size == 40_000_000


async def test_operations_run_one_at_a_time_unless_more_are_granted() -> None:
    async def most_at_once(asked: int, granted: int) -> int:
        at_once = most = 0

        async def finish(sink: DataSetSink) -> Outcome:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.005)
            at_once -= 1
            return SUCCESS

        config = RequestorConfig(async_operations=asked)
        async with (
            running(RecordingHandler(on_finish=finish), async_operations=granted) as service,
            associate(remote(service), ALL, config) as association,
        ):
            context = association.context_for(CT)
            stores = [association.store(context, CT, f"1.2.{n}", parts_of(b"da", b"ta")) for n in range(12)]
            assert set(await asyncio.gather(*stores)) == {SUCCESS}
            assert {bytes(sink.data) for sink in service.handler.sinks} == {b"data"}
        return most

    assert await most_at_once(1, 16) == 1
    assert await most_at_once(4, 16) == 4
    assert await most_at_once(4, 2) == 2


async def test_find_yields_pending_responses_and_the_final_one() -> None:
    async with (
        running(RecordingHandler(matches=pending(200))) as service,
        associate(remote(service), ALL) as association,
    ):
        found = [r async for r in association.find(association.context_for(STUDY_FIND), b"identifier")]
        assert [r.status for r in found] == [Status.PENDING] * 200 + [Status.SUCCESS]
        assert [int.from_bytes(r.identifier[:4], "big") for r in found[:-1]] == list(range(200))
        assert found[-1].identifier is None
        assert service.handler.finds[0].identifier == b"identifier"


async def test_a_consumer_that_is_slow_makes_the_peer_wait() -> None:
    sent = 0

    async def many(request: FindRequest) -> AsyncIterator[FindResponse]:
        nonlocal sent
        for _ in range(2000):
            sent += 1
            yield FindResponse(Status.PENDING, bytes(20_000))
        yield FindResponse(Status.SUCCESS)

    async with running(RecordingHandler(matches=many)) as service, associate(remote(service), ALL) as association:
        responses = association.find(association.context_for(STUDY_FIND), b"id")
        await anext(responses)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 1500
        assert len([r async for r in responses]) == 2000


async def test_closing_a_find_cancels_it_and_the_association_goes_on() -> None:
    closed = asyncio.Event()

    async def endless(request: FindRequest) -> AsyncIterator[FindResponse]:
        try:
            while True:
                await asyncio.sleep(0)
                yield FindResponse(Status.PENDING, b"match!")
        finally:
            closed.set()

    async with running(RecordingHandler(matches=endless)) as service:
        async with associate(remote(service), ALL) as association:
            async with aclosing(association.find(association.context_for(STUDY_FIND), b"id")) as responses:
                async for response in responses:
                    assert response.status is Status.PENDING
                    break
            assert await association.echo() == SUCCESS
            assert closed.is_set()
        assert service.log.ends == [AssociationEnd.RELEASED]


async def test_a_store_that_is_cancelled_while_it_is_answered_does_not_disturb_the_next() -> None:
    gate = asyncio.Event()

    async def finish(sink: DataSetSink) -> Outcome:
        await gate.wait()
        return SUCCESS

    async with running(RecordingHandler(on_finish=finish)) as service, associate(remote(service), ALL) as association:
        context = association.context_for(CT)
        first = asyncio.create_task(association.store(context, CT, "1.2", parts_of(b"data")))
        while not (service.handler.sinks and service.handler.sinks[0].end):
            await asyncio.sleep(0.001)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        assert await association.store(context, CT, "1.3", parts_of(b"data")) == SUCCESS


async def test_the_peer_may_release_and_what_follows_says_so() -> None:
    async with running() as service, associate(remote(service), [ECHO]) as association:
        (theirs,) = service.acceptor.connections
        theirs.upper_layer.release()
        while association.open:
            await asyncio.sleep(0.001)
        with pytest.raises(AssociationAborted, match="released"):
            await association.echo()


async def test_message_ids_start_again_after_the_highest() -> None:
    async with running() as service, associate(remote(service), ALL) as association:
        association.invoker.last_message_id = 0xFFFE
        context = association.context_for(CT)
        for number in range(3):
            await association.store(context, CT, f"1.2.{number}", parts_of(b"data"))
        assert [sink.request.message_id for sink in service.handler.sinks] == [0xFFFF, 1, 2]


def report_rq(message_id: int, information: bytes = b"", **more: int) -> bytes:
    values: dict[int, int | str | bytes] = {0x0002: CT, 0x0100: 0x0100, 0x0110: message_id, 0x1000: "1.2", 0x1002: 1}
    values[0x0800] = 1 if information else 0x0101
    values.update({int(name[1:], 16): value for name, value in more.items()})
    message = data_tf(pdv(3, 3, command_set(values)))
    return message + data_tf(pdv(3, 2, information)) if information else message


async def heard_by(reports: Callable[[EventReport], Awaitable[Outcome]] | None, *messages: bytes) -> list[int]:
    """Send messages to a requestor that stores meanwhile; return the statuses that it answers."""
    statuses: list[int] = []

    async def tell(peer: RawPeer) -> None:
        await accept(peer)
        await peer.receive()
        await peer.send(*messages)
        await peer.receive()
        statuses.extend([(await peer.response()).status for _ in messages])
        await peer.send(data_tf(pdv(3, 3, command_set({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}))))
        await peer.receive()
        await peer.send(pdu(6))

    async with scripted(tell) as remote, associate(remote, ALL, reports=reports) as association:
        assert await association.store(association.context_for(CT), CT, "1.2", parts_of(b"data")) == SUCCESS
    return statuses


async def test_event_reports_are_received_while_an_operation_runs() -> None:
    heard: list[EventReport] = []

    async def take(report: EventReport) -> Outcome:
        heard.append(report)
        if report.event_type == 3:
            raise ZeroDivisionError
        return SUCCESS

    messages = report_rq(7, b"info"), report_rq(8), report_rq(9, e1002=3)
    assert await heard_by(take, *messages) == [0, 0, Status.PROCESSING_FAILURE]
    assert [(r.message_id, r.event_type, r.sop_instance_uid, r.information) for r in heard] == [
        (7, 1, "1.2", b"info"),
        (8, 1, "1.2", b""),
        (9, 3, "1.2", b""),
    ]


async def test_requests_that_a_requestor_does_not_serve_are_refused() -> None:
    messages = report_rq(7), store_message(8, context_id=3), data_tf(pdv(1, 3, echo_rq(9)))
    assert await heard_by(None, *messages) == [
        Status.UNRECOGNIZED_OPERATION,
        Status.SOP_CLASS_NOT_SUPPORTED,
        Status.SOP_CLASS_NOT_SUPPORTED,
    ]


async def test_an_acceptor_reports_an_event_on_the_association_that_was_requested() -> None:
    async def take(report: EventReport) -> Outcome:
        return Outcome(Status.NOT_AUTHORIZED, f"no {report.information.decode()}")

    async with running() as service, associate(remote(service), ALL, reports=take) as association:
        (theirs,) = service.acceptor.connections
        context = theirs.exchange.user.context_for(CT)
        outcome, reply = await theirs.exchange.user.report(context, CT, "1.2", 1, b"info")
        assert (outcome, reply) == (Outcome(Status.NOT_AUTHORIZED, "no info"), None)
        with pytest.raises(NotAccepted, match="role of service class user"):
            await theirs.exchange.user.store(context, CT, "1.2", parts_of(b"data"))
        assert await association.echo() == SUCCESS


@pytest.mark.slow
async def test_an_acceptor_whose_event_report_is_not_answered_aborts() -> None:
    async def never(report: EventReport) -> Outcome:
        await asyncio.Event().wait()
        return SUCCESS

    async with running(dimse_timeout=0.1) as service, associate(remote(service), ALL, reports=never):
        (theirs,) = service.acceptor.connections
        with pytest.raises(NoAnswer):
            await theirs.exchange.user.report(theirs.exchange.user.context_for(CT), CT, "1.2", 1, b"info")
    assert service.log.ends == [AssociationEnd.TIMED_OUT]


async def test_requests_of_the_peer_wait_while_a_data_set_is_streamed() -> None:
    gate = asyncio.Event()
    statuses: list[int] = []

    async def source() -> AsyncIterator[bytes]:
        yield bytes(300_000)
        await gate.wait()
        yield b"rest"

    async def flood(peer: RawPeer) -> None:
        await accept(peer)
        await peer.receive()
        await peer.send(*(data_tf(pdv(1, 3, echo_rq(1 + number))) for number in range(2000)))
        assert (await peer.receive())[0] == 4  # all of the first part but its last PDU
        kind, body = await peer.receive()
        assert (kind, body[5]) == (4, 2)
        statuses.extend([(await peer.response()).status for _ in range(2000)])
        await peer.send(data_tf(pdv(3, 3, command_set({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}))))
        await peer.receive()
        await peer.send(pdu(6))

    async with scripted(flood) as remote, associate(remote, ALL) as association:
        storing = asyncio.create_task(association.store(association.context_for(CT), CT, "1.2", source()))
        sender = association.invoker.sender
        while not (sender.crowded and sender.postponed >= 64):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        assert sender.postponed == 64
        gate.set()
        assert await storing == SUCCESS
    assert statuses == [Status.SOP_CLASS_NOT_SUPPORTED] * 2000
