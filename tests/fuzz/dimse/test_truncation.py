"""Every PDU cut at every byte; then the connection is closed, reset, or left open without a word."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from osteon.dimse.observer import AssociationEnd
from support.dimse.raw_peer import data_tf, echo_rq, find_rq, pdu, pdv, request_pdu, store_message, store_rq
from support.fuzz.acceptor import (
    BY_USER,
    CONTEXTS,
    UNEXPECTED_PDU,
    FuzzedAcceptor,
    in_batches,
    under_attack,
    until,
)

REQUEST = request_pdu(CONTEXTS)
STORE = data_tf(pdv(1, 1, store_rq()[:50]), pdv(1, 3, store_rq()[50:]), pdv(1, 0, b"a" * 20)) + data_tf(
    pdv(1, 0, b"b" * 30), pdv(1, 2, b"c" * 10)
)
MESSAGES = {
    "C-STORE": store_message(data=b"d" * 40),
    "C-STORE in many fragments": STORE,
    "C-FIND": data_tf(pdv(5, 3, find_rq()), pdv(5, 2, b"keys")),
    "C-ECHO": data_tf(pdv(3, 3, echo_rq())),
    "A-RELEASE-RQ": pdu(5),
    "A-ABORT": pdu(7),
}
UNEXPECTED = {"A-ASSOCIATE-RQ": REQUEST, "A-ASSOCIATE-AC": pdu(2, REQUEST[6:]), "A-ASSOCIATE-RJ": pdu(3), "RP": pdu(6)}


async def close(target: FuzzedAcceptor, opening: bytes, part: bytes) -> None:
    peer = await target.peer()
    await peer.send(opening + part)
    await peer.close()


async def reset(target: FuzzedAcceptor, opening: bytes, part: bytes) -> None:
    peer = await target.peer()
    await peer.send(opening + part)
    if opening:
        await peer.receive()
    await peer.reset()


def all_cuts(data: bytes, how: Callable[[bytes], Awaitable[None]]) -> list[Callable[[], Awaitable[None]]]:
    return [partial(how, data[:cut]) for cut in range(1, len(data))]


@pytest.mark.parametrize("end", [close, reset])
async def test_a_request_cut_at_any_byte_is_forgotten_with_its_connection(
    end: Callable[[FuzzedAcceptor, bytes, bytes], Awaitable[None]],
) -> None:
    async with under_attack() as target:
        await in_batches(all_cuts(REQUEST, partial(end, target, b"")))
        await until(lambda: len(target.log.unuseds) == len(REQUEST) - 1)
        assert set(target.log.unuseds) == {AssociationEnd.LOST}
        assert not target.attackers


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("name", MESSAGES)
async def test_a_message_cut_at_any_byte_with_its_connection_stores_nothing(
    name: str, end: Callable[[FuzzedAcceptor, bytes, bytes], Awaitable[None]]
) -> None:
    message = MESSAGES[name]
    async with under_attack() as target:
        await in_batches(all_cuts(message, partial(end, target, REQUEST)))
        await target.settled(len(message) - 1)
        assert set(target.log.ends) == {AssociationEnd.LOST}
        assert {sink.end for handler in target.attackers for sink in handler.sinks} <= {"abort"}
        assert not [find for handler in target.attackers for find in handler.finds]


async def test_a_request_cut_at_any_byte_and_left_open_is_closed_by_artim() -> None:
    async def leave(target: FuzzedAcceptor, part: bytes) -> None:
        peer = await target.peer()
        await peer.send(part)
        assert await peer.everything() == []
        await peer.close()

    async with under_attack(artim_timeout=0.5) as target:
        await in_batches(all_cuts(REQUEST, partial(leave, target)), 400)
        assert target.log.unuseds == [AssociationEnd.TIMED_OUT] * (len(REQUEST) - 1)


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_message_cut_at_any_byte_and_left_open_is_aborted_by_the_dimse_timeout(name: str) -> None:
    async def leave(target: FuzzedAcceptor, part: bytes) -> None:
        peer = await target.peer()
        await peer.send(REQUEST + part)
        assert (await peer.receive())[0] == 2
        assert await peer.receive() == BY_USER
        await peer.close()

    async with under_attack(dimse_timeout=0.5) as target:
        await in_batches(all_cuts(MESSAGES[name], partial(leave, target)), 400)
        await target.settled(len(MESSAGES[name]) - 1)
        assert set(target.log.ends) == {AssociationEnd.TIMED_OUT}
        assert {sink.end for handler in target.attackers for sink in handler.sinks} <= {"abort"}


@pytest.mark.parametrize("name", UNEXPECTED)
async def test_an_unexpected_pdu_is_aborted_as_soon_as_its_header_has_come(name: str) -> None:
    whole = UNEXPECTED[name]

    async def leave(target: FuzzedAcceptor, part: bytes) -> None:
        peer = await target.peer()
        await peer.send(REQUEST + part)
        assert (await peer.receive())[0] == 2
        assert await peer.receive() == (UNEXPECTED_PDU if len(part) >= 6 else BY_USER)
        await peer.close()

    async with under_attack(dimse_timeout=0.5) as target:
        await in_batches(all_cuts(whole, partial(leave, target)), 400)
        assert target.log.ends.count(AssociationEnd.TIMED_OUT) == 5
        assert target.log.ends.count(AssociationEnd.PROTOCOL_ERROR) == len(whole) - 6
