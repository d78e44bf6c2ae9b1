"""Lengths, contexts and command sets that make no sense: each gets its answer, and nobody else notices."""

import struct

import pytest

from osteon.dimse.observer import AssociationEnd
from osteon.dimse.status import Status
from support.dimse.raw_peer import CT, VERIFICATION, command_set, data_tf, echo_rq, find_rq, pdu, pdv, store_rq
from support.fuzz.acceptor import BY_USER, INVALID_PARAMETER, UNEXPECTED_PDU, UNRECOGNIZED_PDU, under_attack

LONGEST = 2**32 - 1


def value(length: int, context_id: int = 1, control: int = 3, data: bytes = b"") -> bytes:
    """Encode a presentation data value that claims a length."""
    return struct.pack(">IBB", length, context_id, control) + data


def element(number: int, data: bytes, length: int | None = None, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(data) if length is None else length) + data


US, UID = (lambda number: number.to_bytes(2, "little")), CT.encode() + b"\0"
STORE = [
    element(0x0002, UID),
    element(0x0100, US(1)),
    element(0x0110, US(7)),
    element(0x0800, US(1)),
    element(0x1000, b"1.2.3\0"),
]


def store(*changed: bytes, without: int = -1) -> bytes:
    """A C-STORE command set less one of its elements, and more."""
    return b"".join(
        (*STORE[: without if without >= 0 else None], *STORE[without + 1 if without >= 0 else 5 :], *changed)
    )


def stored(*changed: bytes, without: int = -1) -> bytes:
    """A whole C-STORE of such a command set."""
    return data_tf(pdv(1, 3, store(*changed, without=without)), pdv(1, 2, b"data"))


@pytest.mark.parametrize("kind", range(11))
@pytest.mark.parametrize("length", [0, 1, LONGEST])
async def test_the_first_pdu_of_any_type_and_length_but_a_request_is_aborted_as_by_the_user(
    kind: int, length: int
) -> None:
    async with under_attack() as target:
        peer = await target.peer()
        await peer.send(pdu(kind, b"", length) + bytes(length if length < LONGEST else 100))
        answers = [await peer.receive()] if (kind, length) != (7, LONGEST) else [BY_USER]
        assert answers == [BY_USER]
        await peer.close()
        assert not target.attackers


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        *((kind, UNEXPECTED_PDU) for kind in (1, 2, 3, 6)),
        *((kind, INVALID_PARAMETER) for kind in (5, 7)),
        *((kind, UNRECOGNIZED_PDU) for kind in (0, 8, 255)),
    ],
)
@pytest.mark.parametrize("length", [0, 3, 5, LONGEST])
async def test_a_pdu_of_any_length_in_an_association_is_aborted_with_its_reason(
    kind: int, answer: tuple[int, bytes], length: int
) -> None:
    async with under_attack() as target:
        peer = await target.associated()
        await peer.send(pdu(kind, b"", length) + bytes(100))
        assert await peer.receive() == answer
        await peer.close()
        await target.settled(1)
        assert target.log.ends == [AssociationEnd.PROTOCOL_ERROR]


@pytest.mark.parametrize(
    "broken",
    [
        *(pdu(4, bytes(length)) for length in range(6)),
        *(data_tf(value(length)) for length in (0, 1, 3, 4, LONGEST, LONGEST - 1, 2**31)),
        data_tf(value(10, data=bytes(7))),
        data_tf(pdv(1, 3, echo_rq()) + b"\0"),
        data_tf(pdv(1, 1, echo_rq()[:7]) + bytes(5)),
        *(data_tf(pdv(context, 3, echo_rq())) for context in (0, 2, 7, 9, 254, 255)),
        data_tf(pdv(1, 2, b"data before its command")),
        data_tf(pdv(1, 0)),
        data_tf(pdv(1, 2)),
        data_tf(pdv(1, 3, store_rq()), pdv(5, 2, b"on another context")),
        data_tf(pdv(1, 3, store_rq()), pdv(1, 3, store_rq(2))),
        data_tf(pdv(1, 3, store_rq()), pdv(3, 3, echo_rq(2))),
        data_tf(pdv(1, 1, store_rq()[:20]), pdv(1, 2, b"data within the command")),
        data_tf(pdv(1, 1, store_rq()[:20]), pdv(5, 3, find_rq())),
        data_tf(pdv(3, 3, command_set({0x0002: VERIFICATION, 0x0100: 0x30, 0x0110: 1, 0x0800: 0x0101})), pdv(3, 2)),
        *(data_tf(pdv(1, 3, store_rq()[:cut])) for cut in range(len(store_rq())) if cut != len(store_rq()) - 14),
        data_tf(pdv(1, 3)),
        data_tf(pdv(1, 1, bytes(60_000)), pdv(1, 1, bytes(60_000))),
        data_tf(*(pdv(1, 1, bytes(8)) for _ in range(9000))),
        data_tf(*(pdv(1, 1) for _ in range(9000))),
        data_tf(pdv(1, 3, bytes(70_000))),
        stored(without=1),
        stored(without=2),
        stored(without=3),
        stored(element(0x0110, b"")),
        stored(element(0x0110, b"\1")),
        stored(element(0x0110, b"\1\0\0\0")),
        stored(element(0x0100, b"C-STORE-RQ")),
        stored(element(0x0800, b"\1\1\0\0")),
        stored(element(0x1031, b"MESSAGE1")),
        stored(element(0x1000, b"1.2.3", LONGEST)),
        stored(element(0x1000, b"1.2.3", 0x7FFFFFFF)),
        stored(b"\0\0\0"),
        data_tf(pdv(1, 3, command_set({0x0002: CT, 0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}))),
    ],
    ids=lambda part: "",
)
async def test_what_is_no_message_is_aborted_as_an_invalid_or_unexpected_parameter(broken: bytes) -> None:
    async with under_attack(dimse_timeout=5) as target:
        peer = await target.associated()
        await peer.send(broken)
        kind, body = await peer.receive()
        assert (kind, body[2]) == (7, 2)
        assert body[3] in {5, 6}
        await peer.close()
        await target.settled(1)
        assert target.log.ends == [AssociationEnd.PROTOCOL_ERROR]
        assert {sink.end for handler in target.attackers for sink in handler.sinks} <= {"abort"}


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (stored(), Status.SUCCESS),
        (stored(without=0), Status.SOP_CLASS_NOT_SUPPORTED),
        (stored(element(0x0002, b"1.2.840.10008.5.1.4.1.1.4\0")), Status.SOP_CLASS_NOT_SUPPORTED),
        (stored(element(0x0002, b"9" * 60_000)), Status.SOP_CLASS_NOT_SUPPORTED),
        (stored(without=4), Status.INVALID_SOP_INSTANCE),
        (stored(element(0x1000, b"")), Status.INVALID_SOP_INSTANCE),
        (stored(element(0x1000, b"1" * 60_000)), Status.INVALID_SOP_INSTANCE),
        (stored(element(0x1000, b"../../../../etc/passwd")), Status.INVALID_SOP_INSTANCE),
        (stored(element(0x1000, b"1.2.3\0\0\0/4")), Status.INVALID_SOP_INSTANCE),
        (stored(element(0x1000, b"1.2.\xff\xfe.3")), Status.INVALID_SOP_INSTANCE),
        (stored(element(0x1000, b"1.2.4\0"), element(0x1000, b"1.2.5\0")), Status.SUCCESS),
        (stored(element(0x0010, b"of another group", group=8)), Status.SUCCESS),
        (stored(element(0xFFFF, bytes(20_000)), *[element(0x0201, b"")] * 4000), Status.SUCCESS),
        (data_tf(pdv(1, 3, store(element(0x0800, US(0x0101))))), Status.CANNOT_UNDERSTAND),
        (stored(element(0x0100, US(0x0FF0))), Status.UNRECOGNIZED_OPERATION),
        (stored(element(0x0100, US(0x0020))), Status.SOP_CLASS_NOT_SUPPORTED),
    ],
    ids=[
        "whole",
        "no SOP class",
        "SOP class of no context",
        "SOP class of 60 kB",
        "no SOP Instance UID",
        "empty SOP Instance UID",
        "SOP Instance UID of 60 kB",
        "a path",
        "a path behind the end",
        "not ASCII",
        "SOP Instance UID three times",
        "another group",
        "long and many unknown elements",
        "no data set",
        "no such service",
        "another service",
    ],
)
async def test_a_command_set_that_can_be_read_gets_its_status_and_the_association_goes_on(
    message: bytes, status: Status
) -> None:
    async with under_attack() as target:
        peer = await target.associated()
        await peer.send(message)
        response = await peer.response()
        assert (response.message_id, response.status) == (7, status)
        assert len(response.command.sop_class_uid) <= 64
        await peer.send(data_tf(pdv(3, 3, echo_rq(8))))
        assert (await peer.response()).status == Status.SUCCESS
        await peer.release()
        sinks = target.attackers[0].sinks
        assert len(sinks) == (status is Status.SUCCESS)
        # Of what is there more than once, the last counts.
        assert not sinks or sinks[0].request.sop_instance_uid in {"1.2.3", "1.2.5"}
