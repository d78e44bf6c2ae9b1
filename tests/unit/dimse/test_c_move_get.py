"""C-MOVE and C-GET as SCP (PS3.7 9.1.4, 9.1.3), as a requestor on a raw connection sees them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from osteon.dimse.command import CommandElement
from osteon.dimse.failed_uid_list import read_failed_uids
from osteon.dimse.handler import GetRequest, MoveRequest, RetrieveOperationRequest, RetrieveResponse
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.status import Status
from support.dimse.c_get import as_getter, counts, get_message, role, sending, store_response
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    RawPeer,
    RecordingHandler,
    cancel_rq,
    data_tf,
    echo_rq,
    get_rq,
    move_rq,
    pdu,
    pdv,
    running,
    store_message,
)
from support.fuzz.acceptor import window

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
VIDEO = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
PENDING = Status.PENDING
Responses = Callable[[RetrieveOperationRequest], AsyncIterator[RetrieveResponse]]


async def mover(peer: RawPeer, syntax: str = IMPLICIT) -> None:
    await peer.associate([(STUDY_MOVE, [syntax]), (VERIFICATION, [IMPLICIT])])


def move_message(message_id: int = 1, **fields: str) -> bytes:
    return data_tf(pdv(1, 3, move_rq(message_id, **fields)), pdv(1, 2, b"keys"))


def saying(*responses: RetrieveResponse) -> Responses:
    async def answer(request: RetrieveOperationRequest) -> AsyncIterator[RetrieveResponse]:
        for response in responses:
            yield response

    return answer


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0.01)


async def test_a_move_counts_its_sub_operations_and_says_at_its_end_which_failed() -> None:
    asked: list[MoveRequest] = []

    async def move(request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        asked.append(request)
        yield RetrieveResponse(PENDING, 3)
        yield RetrieveResponse(PENDING, 1, 1, 1, 0)
        failure = Status.SUB_OPERATIONS_COMPLETE_WITH_FAILURES
        yield RetrieveResponse(failure, 0, 1, 1, 1, ("1.2.3",), "1 of 3 instances not sent")

    async with running(RecordingHandler(on_move=move)) as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(move_message(7, destination=" SINK "))
        first, second, last = [await peer.response() for _ in range(3)]
        (request,) = asked
        assert (request.destination, request.identifier, request.message_id) == ("SINK", b"keys", 7)
        assert (first.status, counts(first), first.data_set) == (0xFF00, (3, 0, 0, 0), None)
        assert (second.status, counts(second), second.data_set) == (0xFF00, (1, 1, 1, 0), None)
        assert (last.status, counts(last), last.message_id) == (0xB000, (None, 1, 1, 1), 7)
        assert last.command.field == 0x8021
        assert last.command.text(CommandElement.ERROR_COMMENT) == "1 of 3 instances not sent"
        assert last.data_set is not None
        assert read_failed_uids(last.data_set, IMPLICIT) == ("1.2.3",)
        await peer.release()


@pytest.mark.slow
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
async def test_the_failed_instances_are_listed_in_the_syntax_of_the_context_as_far_as_there_is_room(
    syntax: str,
) -> None:
    uids = tuple(f"1.2.826.0.1.3680043.8.498.1{number:037}" for number in range(2000))
    final = RetrieveResponse(Status.UNABLE_TO_PERFORM_SUB_OPERATIONS, 0, 0, 2000, 0, uids)
    async with running(RecordingHandler(on_move=saying(final))) as service:
        peer = await service.peer()
        await mover(peer, syntax)
        await peer.send(move_message())
        last = await peer.response()
        assert last.data_set is not None
        assert counts(last) == (None, 0, 2000, 0)
        listed = read_failed_uids(last.data_set, syntax)
        assert 900 < len(listed) < 2000
        assert listed == uids[: len(listed)]
        assert len(last.data_set) < 0xFFFF + 12


@pytest.mark.slow
async def test_the_failed_instances_are_listed_in_a_deflated_context_too() -> None:
    final = RetrieveResponse(Status.UNABLE_TO_PERFORM_SUB_OPERATIONS, failed=1, failed_uids=("1.2.3",))
    async with running(RecordingHandler(on_move=saying(final))) as service:
        peer = await service.peer()
        await mover(peer, DEFLATED)
        await peer.send(move_message())
        data_set = (await peer.response()).data_set
        assert data_set is not None
        import zlib

        assert read_failed_uids(zlib.decompress(data_set, -15), EXPLICIT) == ("1.2.3",)


@pytest.mark.slow
async def test_counters_stay_at_65535_when_there_are_more() -> None:
    responses = saying(RetrieveResponse(PENDING, 200_000, 70_000, 65_535, 65_536), RetrieveResponse(Status.SUCCESS))
    async with running(RecordingHandler(on_move=responses)) as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(move_message())
        assert counts(await peer.response()) == (65_535, 65_535, 65_535, 65_535)
        assert counts(await peer.response()) == (None, 0, 0, 0)


@pytest.mark.slow
async def test_many_pending_responses_are_thinned_out_and_the_last_counts_still_come() -> None:
    async def move(request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        for number in range(5000):
            yield RetrieveResponse(PENDING, 5000 - number, number)
        yield RetrieveResponse(Status.SUCCESS, 0, 5000)

    async with running(RecordingHandler(on_move=move)) as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(move_message())
        pending = 0
        while (response := await peer.response()).status == 0xFF00:
            pending += 1
        assert 100 <= pending < 500
        assert counts(response) == (None, 5000, 0, 0)


async def test_the_last_counts_are_repeated_while_an_instance_takes_long() -> None:
    go_on = asyncio.Event()

    async def move(request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        yield RetrieveResponse(PENDING, 2, 1)
        await go_on.wait()
        yield RetrieveResponse(Status.SUCCESS, 0, 3)

    async with running(RecordingHandler(on_move=move), progress_repeat=0.02) as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(move_message())
        for _ in range(3):
            response = await peer.response()
            assert (response.status, counts(response)) == (0xFF00, (2, 1, 0, 0))
        go_on.set()
        while response.status == 0xFF00:
            response = await peer.response()
        assert (response.status, counts(response)) == (0, (None, 3, 0, 0))
        await peer.send(data_tf(pdv(3, 3, echo_rq(9))))
        assert (await peer.response()).command.field == 0x8030, "nothing is repeated after the final response"
        await peer.release()


async def test_a_cancelled_move_ends_with_what_was_done_until_then() -> None:
    async def move(request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        yield RetrieveResponse(PENDING, 4, 1)
        await request.cancelled.wait()
        yield RetrieveResponse(Status.CANCEL, 2, 2, 1, 0, ("1.2.3",))

    async with running(RecordingHandler(on_move=move)) as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(move_message(5))
        await peer.response()
        await peer.send(data_tf(pdv(1, 3, cancel_rq(5))))
        last = await peer.response()
        assert (last.status, counts(last)) == (0xFE00, (2, 2, 1, 0))
        assert read_failed_uids(last.data_set or b"", IMPLICIT) == ("1.2.3",)
        await peer.release()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["abort", "release", "reset"])
async def test_a_move_is_closed_when_its_association_ends(ending: str) -> None:
    closed = asyncio.Event()

    async def move(request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        try:
            yield RetrieveResponse(PENDING, 4, 1)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            closed.set()

    async with running(RecordingHandler(on_move=move)) as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(move_message())
        await peer.response()
        if ending == "release":
            await peer.send(pdu(5))
            last = await peer.response()
            assert (last.status, counts(last)) == (0xFE00, (4, 1, 0, 0))
            assert await peer.receive() == (6, bytes(4))
        elif ending == "abort":
            await peer.send(pdu(7))
        else:
            await peer.reset()
        await asyncio.wait_for(closed.wait(), 5)
        await asyncio.wait_for(service.handler.ended.wait(), 5)


async def test_a_handler_that_fails_is_answered_with_the_last_counts() -> None:
    async def move(request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        yield RetrieveResponse(PENDING, 4, 1)
        raise ValueError("broken")

    async with running(RecordingHandler(on_move=move)) as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(move_message())
        await peer.response()
        last = await peer.response()
        assert (last.status, counts(last)) == (0xC000, (None, 1, 0, 0))
        assert last.command.text(CommandElement.ERROR_COMMENT) == "internal error"
        await peer.release()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (move_rq(destination=""), Status.MOVE_DESTINATION_UNKNOWN),
        (move_rq(sop_class=STUDY_GET), Status.SOP_CLASS_NOT_SUPPORTED),
        (get_rq(sop_class=STUDY_MOVE), Status.SOP_CLASS_NOT_SUPPORTED),
    ],
)
async def test_what_cannot_be_retrieved_is_refused(command: bytes, status: Status) -> None:
    async with running() as service:
        peer = await service.peer()
        await mover(peer)
        await peer.send(data_tf(pdv(1, 3, command), pdv(1, 2, b"keys")))
        assert (await peer.response()).status == status
        await peer.release()


async def test_a_get_sends_its_instances_on_the_association_on_which_it_was_requested() -> None:
    async with running(RecordingHandler(on_get=sending(2, size=40_000))) as service:
        peer = await service.peer()
        await as_getter(peer)
        await peer.send(get_message(9))
        for number in range(2):
            request = await peer.response()
            assert (request.context_id, request.command.field) == (3, 1)
            assert request.command.sop_instance_uid == f"1.2.{number}"
            assert request.data_set == bytes(40_000)
            message_id = request.command.require(CommandElement.MESSAGE_ID)
            await peer.send(store_response(message_id, 0xA700 * number))
            pending = await peer.response()
            assert (pending.command.field, counts(pending)) == (0x8010, (1 - number, 1, number, 0))
        last = await peer.response()
        assert (last.status, counts(last), last.message_id) == (0, (None, 1, 1, 0), 9)
        await peer.release()


async def test_a_cancelled_get_finishes_the_instance_that_is_on_its_way() -> None:
    async with running(RecordingHandler(on_get=sending(5))) as service:
        peer = await service.peer()
        await as_getter(peer)
        await peer.send(get_message(9))
        request = await peer.response()
        await peer.send(
            data_tf(pdv(1, 3, cancel_rq(9))), store_response(request.command.require(CommandElement.MESSAGE_ID))
        )
        assert counts(await peer.response()) == (4, 1, 0, 0)
        last = await peer.response()
        assert (last.status, counts(last)) == (0xFE00, (4, 1, 0, 0))
        await peer.send(data_tf(pdv(5, 3, echo_rq(10))))
        assert (await peer.response()).status == 0
        await peer.release()


async def test_requests_during_a_get_are_refused_and_do_not_stop_it() -> None:
    async with running(RecordingHandler(on_get=sending(2))) as service:
        peer = await service.peer()
        await as_getter(peer)
        await peer.send(get_message(9))
        for _ in range(2):
            request = await peer.response()
            await peer.send(data_tf(pdv(5, 3, echo_rq(77))))
            refused = await peer.response()
            assert (refused.command.field, refused.status) == (0x8030, Status.RESOURCE_LIMITATION)
            await peer.send(store_response(request.command.require(CommandElement.MESSAGE_ID)))
            assert (await peer.response()).status == 0xFF00
        assert (await peer.response()).status == 0
        await peer.release()


async def test_with_a_window_an_echo_is_answered_within_a_get_and_two_gets_take_turns() -> None:
    async with running(RecordingHandler(on_get=sending(3))) as service:
        peer = await service.peer()
        contexts = [(STUDY_GET, [IMPLICIT]), (CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]
        await peer.associate(contexts, role(CT), window(3))
        await peer.send(get_message(1), get_message(2), data_tf(pdv(5, 3, echo_rq(3))))
        final, stores = {}, 0
        while len(final) < 3:
            message = await peer.response()
            if message.command.field == 1:
                stores += 1
                await peer.send(store_response(message.command.require(CommandElement.MESSAGE_ID)))
            elif message.status != 0xFF00:
                final[message.message_id] = message.status
        assert (final, stores) == ({1: 0, 2: 0, 3: 0}, 6)
        await peer.release()


@pytest.mark.slow
async def test_a_peer_that_does_not_answer_an_instance_is_aborted_and_the_get_closed() -> None:
    closed: list[str] = []

    async def get(request: GetRequest) -> AsyncIterator[RetrieveResponse]:
        try:
            async for response in sending(1)(request):
                yield response
        finally:
            closed.append(type(request.user).__name__)

    async with running(RecordingHandler(on_get=get), dimse_timeout=0.2) as service:
        peer = await service.peer()
        await as_getter(peer)
        await peer.send(get_message())
        await peer.response()
        assert (await peer.receive())[0] == 7
        await asyncio.wait_for(service.handler.ended.wait(), 5)
        assert closed
        assert service.log.ends == [AssociationEnd.TIMED_OUT]


async def test_who_is_provider_only_may_not_store() -> None:
    async with running() as service:
        peer = await service.peer()
        await as_getter(peer)
        await peer.send(store_message(2, context_id=3))
        assert (await peer.response()).status == Status.SOP_CLASS_NOT_SUPPORTED
        assert service.handler.sinks == []
        await peer.release()


async def test_the_role_of_provider_is_granted_for_storage_with_a_get_only() -> None:
    async with running() as service:
        for contexts, granted in (
            ([(CT, [EXPLICIT]), (STUDY_GET, [IMPLICIT])], (1, 1)),
            ([(CT, [EXPLICIT]), (STUDY_MOVE, [IMPLICIT])], (1, 0)),
        ):
            peer = await service.peer()
            answer = await peer.associate(contexts, role(CT, scu=True))
            item = answer.user_information.role_selection[CT]
            assert (item.scu_role, item.scp_role) == granted
            await peer.release()


@pytest.mark.parametrize(
    ("proposed", "accepted"),
    [
        ([JPEG_LOSSLESS, IMPLICIT, EXPLICIT], EXPLICIT),
        ([JPEG_LOSSLESS, BIG_ENDIAN, IMPLICIT], IMPLICIT),
        ([JPEG_LOSSLESS, DEFLATED], DEFLATED),
        ([JPEG_LOSSLESS, "1.2.840.10008.1.2.4.90"], JPEG_LOSSLESS),
    ],
)
async def test_what_is_sent_goes_without_compression_where_that_is_proposed(proposed: list[str], accepted: str) -> None:
    async with running() as service:
        peer = await service.peer()
        contexts = [(STUDY_GET, [IMPLICIT]), (CT, proposed), (MR, proposed), (VIDEO, proposed)]
        answer = await peer.associate(contexts, role(CT), role(MR, scu=True), role(VIDEO))
        by_id = {item.context_id: item.transfer_syntax for item in answer.presentation_context}
        assert by_id[3] == accepted
        assert by_id[5] == JPEG_LOSSLESS, "the requestor may store here too: its order counts"
        assert by_id[7] == JPEG_LOSSLESS, "video is not decoded"
        await peer.release()


@pytest.mark.parametrize(
    ("asked", "granted"), [(b"\1", b"\1"), (b"\0", b"\0"), (b"\1\1", b"\1\0"), (b"\7\1\1", b"\1\0")]
)
@pytest.mark.parametrize("sop_class", [STUDY_MOVE, STUDY_GET])
async def test_relational_retrieval_is_granted_to_who_asks_for_it(sop_class: str, asked: bytes, granted: bytes) -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = sop_class, asked
    async with running() as service:
        peer = await service.peer()
        answer = await peer.associate([(sop_class, [IMPLICIT])], item)
        assert answer.user_information.ext_neg[0].app_info == granted
        await peer.release()
