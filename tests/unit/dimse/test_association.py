"""The state machine of PS3.8 9.2 as a peer on a raw connection sees it."""

import asyncio
import struct
from contextlib import suppress

import pytest

from osteon.dimse.handler import Outcome
from osteon.dimse.observer import AssociationEnd, RejectReason
from osteon.dimse.status import Status
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    MR,
    DataSetSink,
    RawPeer,
    RecordingHandler,
    RunningAcceptor,
    data_tf,
    echo_rq,
    pdu,
    pdv,
    request_pdu,
    running,
    store_message,
    store_rq,
)

USER_ABORT = (7, bytes((0, 0, 0, 0)))
RELEASED = (6, bytes(4))


def provider_abort(reason: int) -> tuple[int, bytes]:
    return 7, bytes((0, 0, 2, reason))


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.005)


async def in_state(service: RunningAcceptor, state: str) -> RawPeer:
    """Connect a peer and bring the acceptor into one of its states."""
    peer = await service.peer()
    if state == "awaiting request":
        return peer
    if state == "closing":
        await peer.send(request_pdu(called="WRONG"))
        assert (await peer.receive())[0] == 3
        return peer
    await peer.associate()
    if state == "receiving":
        await peer.send(data_tf(pdv(1, 3, store_rq()), pdv(1, 0, b"part")))
        await until(lambda: service.handler.sinks and service.handler.sinks[-1].size)
    if state == "release indicated":
        await peer.send(store_message(), pdu(5))
        await until(lambda: service.handler.sinks and service.handler.sinks[-1].end)
    return peer


async def never(sink: DataSetSink) -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


async def eventually(sink: DataSetSink) -> Outcome:
    await asyncio.sleep(0.05)
    return Outcome(Status.SUCCESS)


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6, 9])
async def test_whatever_but_a_request_comes_first_is_aborted_as_by_the_user(kind: int) -> None:
    async with running() as service:
        peer = await in_state(service, "awaiting request")
        await peer.send(pdu(kind))
        assert await peer.receive() == USER_ABORT
        await peer.close()
        assert service.log.accepts == []


@pytest.mark.parametrize(("kind", "reason"), [(1, 2), (2, 2), (3, 2), (6, 2), (0, 1), (8, 1), (0x47, 1)])
async def test_a_pdu_that_an_association_does_not_expect_aborts_it(kind: int, reason: int) -> None:
    async with running() as service:
        peer = await in_state(service, "established")
        await peer.send(pdu(kind))
        assert await peer.receive() == provider_abort(reason)
        await peer.close()
        await service.handler.ended.wait()
        assert service.log.ends == [AssociationEnd.PROTOCOL_ERROR]


@pytest.mark.parametrize("kind", [1, 4, 5, 6])
async def test_a_pdu_after_the_release_request_aborts(kind: int) -> None:
    async with running(RecordingHandler(on_finish=eventually)) as service:
        peer = await in_state(service, "release indicated")
        await peer.send(data_tf(pdv(1, 3, echo_rq())) if kind == 4 else pdu(kind))
        assert await peer.receive() == provider_abort(2)
        await peer.close()
        await service.handler.ended.wait()


@pytest.mark.parametrize(("kind", "answer"), [(1, 2), (9, 1)])
async def test_a_request_or_an_unknown_pdu_while_closing_is_aborted_again(kind: int, answer: int) -> None:
    async with running(check_called_aet=True) as service:
        peer = await in_state(service, "closing")
        await peer.send(pdu(2), pdu(4, bytes(8)), pdu(5), pdu(6), pdu(kind, bytes(20)))
        assert await peer.receive() == provider_abort(answer)
        await peer.close()


@pytest.mark.parametrize("state", ["awaiting request", "established", "receiving", "release indicated", "closing"])
async def test_an_abort_in_any_state_closes_the_connection_without_an_answer(state: str) -> None:
    async with running(RecordingHandler(on_finish=eventually), check_called_aet=True) as service:
        peer = await in_state(service, state)
        await peer.send(pdu(7))
        assert await peer.at_end()
        await peer.close()
        if service.log.accepts:
            await service.handler.ended.wait()
            assert service.log.ends == [AssociationEnd.ABORTED_BY_PEER]
            assert service.handler.closes == 1
        assert service.acceptor.associations == 0


@pytest.mark.parametrize("state", ["awaiting request", "established", "receiving", "release indicated", "closing"])
async def test_a_lost_connection_in_any_state_leaves_nothing_behind(state: str) -> None:
    async with running(RecordingHandler(on_finish=eventually), check_called_aet=True) as service:
        peer = await in_state(service, state)
        await peer.close()
        if service.log.accepts:
            await service.handler.ended.wait()
            assert service.log.ends == [AssociationEnd.LOST]
            assert service.handler.closes == 1
        await until(lambda: not service.acceptor.connections)
        assert service.acceptor.associations == 0


@pytest.mark.parametrize("end", [pdu(7), pdu(5), b""], ids=["abort", "release", "close"])
async def test_a_data_set_that_is_not_completed_aborts_its_sink_once(end: bytes) -> None:
    async with running() as service:
        peer = await in_state(service, "receiving")
        await peer.send(end)
        if end == pdu(5):
            assert await peer.receive() == RELEASED
        await peer.close()
        await service.handler.ended.wait()
        assert service.handler.sinks[0].end == "abort"


async def test_a_finish_that_runs_when_the_connection_is_lost_runs_to_its_end() -> None:
    done = asyncio.Event()

    async def finish(sink: DataSetSink) -> Outcome:
        await asyncio.sleep(0.05)
        done.set()
        return Outcome(Status.SUCCESS)

    async with running(RecordingHandler(on_finish=finish)) as service:
        peer = await in_state(service, "established")
        await peer.send(store_message())
        await until(lambda: service.handler.sinks and service.handler.sinks[0].end)
        await peer.close()
        await service.handler.ended.wait()
        assert done.is_set()
        assert service.handler.sinks[0].end == "finish"


async def test_a_release_is_confirmed_after_the_last_answer() -> None:
    async with running(RecordingHandler(on_finish=eventually)) as service:
        peer = await in_state(service, "release indicated")
        assert (await peer.response()).status == Status.SUCCESS
        assert await peer.receive() == RELEASED
        await peer.close()
        await service.handler.ended.wait()
        assert service.log.ends == [AssociationEnd.RELEASED]


async def test_release_requests_that_cross_end_by_the_rules_of_a_collision() -> None:
    async with running() as service:
        peer = await in_state(service, "established")
        (association,) = service.acceptor.connections
        association.upper_layer.release()
        assert await peer.receive() == (5, bytes(4))
        await peer.send(pdu(5))
        # The acceptor waits for the requestor's answer before it gives its own (Sta10).
        await until(lambda: association.upper_layer.state.value == 10)
        await peer.send(pdu(6))
        assert await peer.receive() == RELEASED
        await peer.close()
        await service.handler.ended.wait()
        assert service.log.ends == [AssociationEnd.RELEASED]


async def test_data_still_arrive_after_a_release_request_of_our_own() -> None:
    async with running() as service:
        peer = await in_state(service, "established")
        (association,) = service.acceptor.connections
        association.upper_layer.release()
        assert (await peer.receive())[0] == 5
        await peer.send(store_message(), pdu(6))
        assert await peer.at_end()
        await service.handler.ended.wait()
        assert service.handler.sinks[0].data == b"data"
        assert service.log.ends == [AssociationEnd.RELEASED]


@pytest.mark.parametrize(
    "broken",
    [
        pdu(5, bytes(8)),
        pdu(7, bytes(3)),
        data_tf(),
        pdu(4, struct.pack(">IBB", 500, 1, 3) + b"short"),
        data_tf(pdv(9, 3, echo_rq())),
        data_tf(pdv(1, 2, b"no command")),
        data_tf(pdv(1, 3, store_rq()), pdv(3, 2, b"other context")),
        data_tf(pdv(1, 3, store_rq()), pdv(1, 3, store_rq())),
        data_tf(pdv(1, 1, store_rq()[:20]), pdv(3, 3, store_rq()[20:])),
        data_tf(pdv(1, 3, b"\1\2\3")),
        data_tf(pdv(1, 1, bytes(40000)), pdv(1, 1, bytes(40000))),
    ],
    ids=[
        "release of 8 bytes",
        "abort of 3 bytes",
        "no value",
        "value too long",
        "context not accepted",
        "data without command",
        "data on another context",
        "command within data",
        "command on two contexts",
        "command cut",
        "command too long",
    ],
)
async def test_what_cannot_be_read_aborts_with_invalid_pdu_parameter(broken: bytes) -> None:
    async with running() as service:
        peer = await in_state(service, "established")
        await peer.send(broken)
        assert await peer.receive() == provider_abort(6)
        await peer.send(b"anything that still comes is ignored")
        await peer.close()
        await service.handler.ended.wait()
        assert service.log.ends == [AssociationEnd.PROTOCOL_ERROR]


@pytest.mark.parametrize(
    "request_bytes",
    [pdu(1, bytes(10)), pdu(1, b"", 2**32 - 1), pdu(1, request_pdu()[6:-1]), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["too short", "endless", "cut", "another protocol"],
)
async def test_a_request_that_cannot_be_read_is_aborted(request_bytes: bytes) -> None:
    async with running() as service:
        peer = await service.peer()
        await peer.send(request_bytes)
        assert await peer.receive() == USER_ABORT
        await peer.close()
        assert service.log.accepts == []


@pytest.mark.parametrize(
    ("config", "request_bytes", "reason"),
    [
        ({"check_called_aet": True}, request_pdu(called="OTHER"), RejectReason.CALLED_AET_NOT_RECOGNIZED),
        ({"allowed_aets": ("CT",)}, request_pdu(), RejectReason.CALLING_AET_NOT_RECOGNIZED),
        ({}, request_pdu()[:6] + bytes(2) + request_pdu()[8:], RejectReason.PROTOCOL_VERSION_NOT_SUPPORTED),
        ({}, request_pdu().replace(b".3.1.1.1", b".3.1.1.2"), RejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED),
    ],
)
async def test_a_rejection_names_result_source_and_reason(
    config: dict[str, object], request_bytes: bytes, reason: RejectReason
) -> None:
    async with running(**config) as service:
        peer = await service.peer()
        await peer.send(request_bytes)
        assert await peer.receive() == (3, bytes((0, *reason.value)))
        await peer.close()
        assert service.log.rejects == [reason]
        assert service.acceptor.associations == 0


async def test_associations_delivered_one_byte_at_a_time_work() -> None:
    conversation = request_pdu() + store_message(data=bytes(range(100))) + pdu(5)
    async with running() as service:
        peer = await service.peer()
        for at in range(len(conversation)):
            await peer.send(conversation[at : at + 1])
            if at % 16 == 0:
                await asyncio.sleep(0)
        assert (await peer.receive())[0] == 2
        assert (await peer.response()).status == Status.SUCCESS
        assert await peer.receive() == RELEASED
        await peer.close()
        assert service.handler.sinks[0].data == bytes(range(100))


async def test_an_endless_pdu_streams_into_its_sink_until_the_peer_goes() -> None:
    async with running(RecordingHandler(keep=False)) as service:
        peer = await in_state(service, "established")
        await peer.send(data_tf(pdv(1, 3, store_rq())), pdu(4, b"", 2**32 - 1), struct.pack(">IBB", 2**32 - 5, 1, 2))
        for _ in range(100):
            await peer.send(bytes(1 << 18))
        await until(lambda: service.handler.sinks[0].size == 100 << 18)
        await peer.close()
        await service.handler.ended.wait()
        assert service.handler.sinks[0].end == "abort"


async def test_artim_closes_a_connection_without_a_request() -> None:
    async with running(artim_timeout=0.05) as service:
        peer = await service.peer()
        await peer.send(b"\1\0")
        assert await peer.at_end()
        await peer.close()


async def test_artim_closes_a_connection_that_the_peer_leaves_open_after_its_end() -> None:
    async with running(artim_timeout=0.05, check_called_aet=True) as service:
        peer = await in_state(service, "closing")
        assert await peer.at_end()
        await peer.close()


async def test_an_idle_association_is_aborted_after_the_network_timeout() -> None:
    async with running(network_timeout=0.05) as service:
        peer = await in_state(service, "established")
        assert await peer.receive() == USER_ABORT
        await peer.close()
        assert service.log.ends == [AssociationEnd.TIMED_OUT]


@pytest.mark.parametrize(
    "part", [data_tf(pdv(1, 1, b"\0")), data_tf(pdv(1, 3, store_rq())), pdu(4, b"\0\0", 100), b"\4\0\0"]
)
async def test_a_message_that_does_not_go_on_is_aborted_after_the_dimse_timeout(part: bytes) -> None:
    async with running(dimse_timeout=0.05) as service:
        peer = await in_state(service, "established")
        await peer.send(part)
        assert await peer.receive() == USER_ABORT
        await peer.close()
        assert service.log.ends == [AssociationEnd.TIMED_OUT]


async def test_an_operation_that_takes_long_is_no_reason_to_time_out() -> None:
    async def finish(sink: DataSetSink) -> Outcome:
        await asyncio.sleep(0.2)
        return Outcome(Status.SUCCESS)

    async with running(RecordingHandler(on_finish=finish), dimse_timeout=0.05, network_timeout=0.05) as service:
        peer = await in_state(service, "established")
        await peer.send(store_message())
        assert (await peer.response()).status == Status.SUCCESS
        assert await peer.receive() == USER_ABORT
        await peer.close()


async def test_a_handler_that_cannot_be_made_rejects_as_congested() -> None:
    async with running() as service:

        def factory(info: object) -> RecordingHandler:
            raise RuntimeError("no spool")

        service.acceptor.handler_factory = factory
        peer = await service.peer()
        await peer.send(request_pdu())
        assert await peer.receive() == (3, bytes((0, 2, 3, 1)))
        await peer.close()
        assert service.log.rejects == [RejectReason.TEMPORARY_CONGESTION]


async def test_the_handler_learns_who_is_calling() -> None:
    async with running() as service:
        peer = await service.peer()
        await peer.associate([(CT, [EXPLICIT]), (MR, ["1.2.3"])], calling="SCANNER", called="ARCHIVE")
        info = service.handler.info
        assert info is not None
        assert (info.calling_aet, info.called_aet, info.implementation_uid) == ("SCANNER", "ARCHIVE", "1.2.3.4")
        assert info.remote_host == "127.0.0.1"
        assert info.remote_port == peer.writer.get_extra_info("sockname")[1]
        await peer.release()


async def test_an_observer_that_fails_does_no_harm() -> None:
    async with running() as service:
        service.log.accepted = None  # type: ignore[method-assign,assignment]
        service.log.ended = None  # type: ignore[method-assign,assignment]
        peer = await in_state(service, "established")
        await peer.release()
        with suppress(TimeoutError):
            await asyncio.wait_for(service.handler.ended.wait(), 5)
        assert service.handler.ended.is_set()
