"""DIMSE operations (PS3.7 9.1) as a requestor on a raw connection sees them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from osteon.dimse.handler import FindRequest, FindResponse, Outcome
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.status import Status
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    VERIFICATION,
    DataSetSink,
    RawPeer,
    RecordingHandler,
    cancel_rq,
    command_set,
    data_tf,
    echo_rq,
    find_rq,
    pdv,
    running,
    store_message,
    store_rq,
)

CONTEXTS = [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT]), (STUDY_FIND, [IMPLICIT])]
SUCCESS = Outcome(Status.SUCCESS)


def window(size: int) -> AsynchronousOperationsWindowNegotiation:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = size
    item.maximum_number_operations_performed = 1
    return item


def find_message(message_id: int = 1, identifier: bytes = b"keys") -> bytes:
    return data_tf(pdv(5, 3, find_rq(message_id)), pdv(5, 2, identifier))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0.01)


async def test_an_echo_is_answered_by_the_handler() -> None:
    async with running() as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(3, 3, echo_rq(7))))
        response = await peer.response()
        assert (response.command.field, response.status, response.message_id) == (0x8030, 0, 7)
        assert response.command.sop_class_uid == VERIFICATION
        await peer.release()


async def test_a_data_set_arrives_in_its_sink_whatever_its_fragments() -> None:
    async with running() as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        command = store_rq(3, "1.2.3.4", x1030="MOVER", x1031=9)
        await peer.send(data_tf(pdv(1, 1, command[:7])), data_tf(pdv(1, 3, command[7:]), pdv(1, 0, b"ab")))
        await peer.send(data_tf(pdv(1, 0, b"cd"), pdv(1, 0), pdv(1, 0, b"ef")), data_tf(pdv(1, 2)))
        response = await peer.response()
        assert (response.command.field, response.status, response.message_id) == (0x8001, 0, 3)
        (sink,) = service.handler.sinks
        assert (bytes(sink.data), sink.end) == (b"abcdef", "finish")
        assert (sink.request.sop_class_uid, sink.request.sop_instance_uid) == (CT, "1.2.3.4")
        assert (sink.request.move_originator_aet, sink.request.move_originator_message_id) == ("MOVER", 9)
        assert (sink.context.context_id, sink.context.transfer_syntax) == (1, EXPLICIT)
        await peer.release()


async def test_a_refused_instance_is_read_and_thrown_away_before_the_answer() -> None:
    refusal = Outcome(Status.OUT_OF_RESOURCES, "spool is full")
    async with running(RecordingHandler(refusal=refusal)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(1, 3, store_rq())))
        await peer.send(data_tf(pdv(1, 2, bytes(1000))), store_message(2))
        for message_id in (1, 2):
            response = await peer.response()
            assert (response.message_id, response.status) == (message_id, 0xA700)
        await peer.release()


@pytest.mark.parametrize(
    ("context_id", "command", "status"),
    [
        (1, store_rq(sop_class="1.2.840.10008.5.1.4.1.1.4"), Status.SOP_CLASS_NOT_SUPPORTED),
        (1, store_rq(uid="../../etc/passwd"), Status.INVALID_SOP_INSTANCE),
        (1, store_rq(uid=""), Status.INVALID_SOP_INSTANCE),
        (1, store_rq(x0800=0x0101), Status.CANNOT_UNDERSTAND),
        (3, store_rq(), Status.SOP_CLASS_NOT_SUPPORTED),
        (1, echo_rq(), Status.SOP_CLASS_NOT_SUPPORTED),
        (5, find_rq(sop_class="1.2.840.10008.5.1.4.1.2.1.1"), Status.SOP_CLASS_NOT_SUPPORTED),
        (1, command_set({0x0003: CT, 0x0100: 0x0140, 0x0110: 1, 0x0800: 1}), Status.UNRECOGNIZED_OPERATION),
        (1, command_set({0x0100: 0x1234, 0x0110: 1, 0x0800: 0x0101}), Status.UNRECOGNIZED_OPERATION),
    ],
)
async def test_what_cannot_be_done_is_answered_and_the_association_lives_on(
    context_id: int, command: bytes, status: Status
) -> None:
    async with running() as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(context_id, 3, command)))
        if b"\0\0\0\x08\2\0\0\0\1\1" not in command:
            await peer.send(data_tf(pdv(context_id, 2, b"data")))
        response = await peer.response()
        assert (response.status, response.message_id) == (status, 1)
        assert service.handler.sinks == []
        await peer.send(store_message(2))
        assert (await peer.response()).status == Status.SUCCESS
        await peer.release()


async def test_one_operation_runs_at_a_time_when_nothing_else_was_agreed() -> None:
    running_now, most = 0, 0

    async def finish(sink: DataSetSink) -> Outcome:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.01)
        running_now -= 1
        return SUCCESS

    async with running(RecordingHandler(on_finish=finish)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(*(store_message(number) for number in range(1, 6)))
        assert [(await peer.response()).message_id for _ in range(5)] == [1, 2, 3, 4, 5]
        assert most == 1
        await peer.release()


async def test_answers_come_in_the_order_of_completion_within_the_window_and_no_more_than_it_run() -> None:
    gates: dict[int, asyncio.Event] = {number: asyncio.Event() for number in range(1, 5)}

    async def finish(sink: DataSetSink) -> Outcome:
        await gates[sink.request.message_id].wait()
        return SUCCESS

    async with running(RecordingHandler(on_finish=finish)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS, window(3))
        await peer.send(*(store_message(number) for number in range(1, 5)))
        await settle()
        assert [sink.request.message_id for sink in service.handler.sinks] == [1, 2, 3]
        for number in (3, 1, 4, 2):
            gates[number].set()
            assert (await peer.response()).message_id == number
        await peer.release()


async def test_a_message_id_in_use_is_a_duplicate_invocation() -> None:
    gate = asyncio.Event()

    async def finish(sink: DataSetSink) -> Outcome:
        await gate.wait()
        return SUCCESS

    async with running(RecordingHandler(on_finish=finish)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS, window(3))
        await peer.send(store_message(1), store_message(1))
        assert (await peer.response()).status == Status.DUPLICATE_INVOCATION
        gate.set()
        assert (await peer.response()).status == Status.SUCCESS
        await peer.release()


async def test_reading_stops_until_what_write_returned_is_done() -> None:
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    async with running(RecordingHandler(on_write=lambda sink: wait())) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(1, 3, store_rq()), *(pdv(1, 0, b"ab") for _ in range(50)), pdv(1, 2, b"cd")))
        await settle()
        (sink,) = service.handler.sinks
        assert bytes(sink.data) == b"ab"
        gate.set()
        assert (await peer.response()).status == Status.SUCCESS
        assert bytes(sink.data) == b"ab" * 50 + b"cd"
        await peer.release()


async def test_finish_comes_after_the_last_write_is_done() -> None:
    order = []

    async def wait() -> None:
        await asyncio.sleep(0.02)
        order.append("written")

    async def finish(sink: DataSetSink) -> Outcome:
        order.append("finish")
        return SUCCESS

    async with running(RecordingHandler(on_write=lambda sink: wait(), on_finish=finish)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(store_message())
        await peer.response()
        assert order == ["written", "finish"]
        await peer.release()


async def test_abort_comes_after_a_write_that_is_not_done_when_the_peer_goes() -> None:
    ends_seen = []

    async def wait(sink: DataSetSink) -> None:
        await asyncio.sleep(0.05)
        ends_seen.append(sink.end)

    async with running(RecordingHandler(on_write=wait)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(1, 3, store_rq()), pdv(1, 0, b"ab")))
        while not service.handler.sinks:
            await asyncio.sleep(0)
        (association,) = service.acceptor.connections
        association.upper_layer.abort(AssociationEnd.TIMED_OUT)
        await service.handler.ended.wait()
        assert ends_seen == [""]
        assert service.handler.sinks[0].end == "abort"
        await peer.close()


def broken_write(sink: DataSetSink) -> None:
    raise OSError("disk")


async def broken_later(sink: DataSetSink) -> None:
    raise OSError("disk")


async def broken_finish(sink: DataSetSink) -> Outcome:
    raise OSError("disk")


@pytest.mark.parametrize(
    ("behaviour", "end"),
    [
        ({"on_write": broken_write}, "abort"),
        ({"on_write": broken_later}, "abort"),
        ({"on_finish": broken_finish}, "finish"),
    ],
    ids=["write", "write later", "finish"],
)
async def test_an_error_of_a_sink_is_a_processing_failure_and_the_association_lives_on(
    behaviour: dict[str, object], end: str
) -> None:
    async with running(RecordingHandler(**behaviour)) as service:  # type: ignore[arg-type]
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(1, 3, store_rq()), pdv(1, 0, b"ab")))
        await peer.send(data_tf(pdv(1, 2, b"cd")))
        assert (await peer.response()).status == Status.PROCESSING_FAILURE
        assert service.handler.sinks[0].end == end
        service.handler.on_write = service.handler.on_finish = None
        await peer.send(store_message(2))
        assert (await peer.response()).status == Status.SUCCESS
        await peer.release()


async def test_an_error_of_an_echo_is_a_processing_failure() -> None:
    async def fail() -> Outcome:
        raise RuntimeError

    async with running(RecordingHandler(on_echo=fail)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(3, 3, echo_rq())))
        assert (await peer.response()).status == Status.PROCESSING_FAILURE
        await peer.release()


async def three_matches(request: FindRequest) -> AsyncIterator[FindResponse]:
    for number in range(3):
        yield FindResponse(Status.PENDING, f"match {number}".encode() * 2000)
    yield FindResponse(Status.SUCCESS)


async def test_matches_are_pending_responses_in_fragments_that_the_peer_can_take() -> None:
    async with running(RecordingHandler(matches=three_matches)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(find_message(5, b"keys"))
        for number in range(3):
            response = await peer.response()
            assert (response.status, response.message_id) == (0xFF00, 5)
            assert response.data_set == f"match {number}".encode() * 2000
        last = await peer.response()
        assert (last.status, last.data_set) == (0, None)
        (request,) = service.handler.finds
        assert (request.identifier, request.context.abstract_syntax) == (b"keys", STUDY_FIND)
        await peer.release()


class Endless:
    """Finds until it is closed."""

    def __init__(self, pause: float = 0.01, size: int = 10) -> None:
        self.pause, self.size = pause, size
        self.sent = 0
        self.closed = asyncio.Event()

    async def __call__(self, request: FindRequest) -> AsyncIterator[FindResponse]:
        try:
            while True:
                await asyncio.sleep(self.pause)
                self.sent += 1
                yield FindResponse(Status.PENDING, bytes(self.size))
        finally:
            self.closed.set()


@pytest.mark.parametrize("pause", [0.01, 1000], ids=["between matches", "while searching"])
async def test_a_cancel_closes_the_search_and_is_answered(pause: float) -> None:
    endless = Endless(pause)
    async with running(RecordingHandler(matches=endless)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(find_message(5))
        await settle()
        await peer.send(data_tf(pdv(5, 3, cancel_rq(99))), data_tf(pdv(5, 3, cancel_rq(5))))
        response = await peer.response()
        while response.status == Status.PENDING:
            response = await peer.response()
        assert (response.status, response.message_id) == (Status.CANCEL, 5)
        assert endless.closed.is_set()
        await peer.send(data_tf(pdv(3, 3, echo_rq(6))), data_tf(pdv(5, 3, cancel_rq(5))))
        assert (await peer.response()).message_id == 6
        await peer.release()


async def test_a_cancel_that_comes_with_its_request_is_answered() -> None:
    async with running(RecordingHandler(matches=Endless())) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(find_message(5) + data_tf(pdv(5, 3, cancel_rq(5))))
        assert (await peer.response()).status == Status.CANCEL
        await peer.release()


async def test_a_search_ends_with_its_association() -> None:
    endless = Endless()
    async with running(RecordingHandler(matches=endless)) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(find_message(5))
        await peer.response()
        await peer.close()
        await service.handler.ended.wait()
        assert endless.closed.is_set()
        assert service.log.ends == [AssociationEnd.LOST]


async def test_a_peer_that_does_not_read_its_matches_holds_the_search_up_and_times_out() -> None:
    endless = Endless(0, 1 << 18)
    async with running(RecordingHandler(matches=endless), network_timeout=0.3, artim_timeout=0.1) as service:
        peer = await service.peer()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.associate(CONTEXTS)
        await peer.send(find_message(5))
        await service.handler.ended.wait()
        # What TCP's own buffers take in, the reader's limit, and one megabyte of ours.
        assert endless.sent < 400
        assert service.log.ends == [AssociationEnd.TIMED_OUT]
        await peer.close()


async def broken_search(request: FindRequest) -> AsyncIterator[FindResponse]:
    yield FindResponse(Status.PENDING, b"one")
    raise RuntimeError("database")


async def unfinished_search(request: FindRequest) -> AsyncIterator[FindResponse]:
    yield FindResponse(Status.PENDING, b"one")


@pytest.mark.parametrize("search", [broken_search, unfinished_search])
async def test_a_search_that_fails_is_unable_to_process(search: object) -> None:
    async with running(RecordingHandler(matches=search)) as service:  # type: ignore[arg-type]
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(find_message())
        assert (await peer.response()).status == Status.PENDING
        assert (await peer.response()).status == Status.UNABLE_TO_PROCESS
        await peer.release()


async def test_an_identifier_beyond_its_limit_is_refused_and_not_kept() -> None:
    async with running(max_identifier=100) as service:
        peer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(5, 3, find_rq())), *(data_tf(pdv(5, 0, bytes(50))) for _ in range(9)))
        await peer.send(data_tf(pdv(5, 2, bytes(50))))
        assert (await peer.response()).status == Status.OUT_OF_RESOURCES
        assert service.handler.finds == []
        await peer.release()


async def test_a_response_to_nothing_aborts() -> None:
    async with running() as service:
        peer: RawPeer = await service.peer()
        await peer.associate(CONTEXTS)
        await peer.send(data_tf(pdv(1, 3, command_set({0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}))))
        assert await peer.receive() == (7, bytes((0, 0, 2, 5)))
        await peer.close()
