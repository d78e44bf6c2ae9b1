"""Requesters that do anything but take what a C-GET or C-MOVE sends: none holds the door, or disturbs another."""

import asyncio
import random
import resource
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from osteon.dimse.handler import AssociationInfo, MoveRequest, RetrieveResponse
from osteon.dimse.status import Status
from support.dimse.c_get import as_getter, get_message, sending, store_response
from support.dimse.raw_peer import (
    IMPLICIT,
    STUDY_MOVE,
    VERIFICATION,
    RecordingHandler,
    cancel_rq,
    command_set,
    data_tf,
    echo_rq,
    get_rq,
    move_rq,
    pdv,
)
from support.fuzz.acceptor import ABORT, RELEASE, FuzzedAcceptor, in_batches, under_attack, until
from support.fuzz.case_counts import EFFORT

QUICK = {"artim_timeout": 0.2, "dimse_timeout": 1.0, "network_timeout": 1.5}


def sender(info: AssociationInfo) -> RecordingHandler:
    return RecordingHandler(info, keep=False, on_get=sending(6, size=3000), on_move=endless)


async def endless(request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
    yield RetrieveResponse(Status.PENDING, 9)
    await request.cancelled.wait()
    yield RetrieveResponse(Status.CANCEL, 9)


def anything(dice: random.Random) -> bytes:
    """Return a message that makes sense at some time, or at none."""
    number = dice.randint(1, 8)
    return dice.choice(
        (
            store_response(number),
            store_response(number),
            store_response(number, dice.choice((0xA700, 0xB000, 0xFF00, 0x0001))),
            data_tf(pdv(1, 3, cancel_rq(number))),
            data_tf(pdv(5, 3, echo_rq(number))),
            get_message(number),
            data_tf(pdv(1, 3, get_rq(number))),
            data_tf(pdv(3, 3, command_set({0x0100: 0x8001, 0x0120: number, 0x0800: 1, 0x0900: 0})), pdv(3, 2, b"x")),
            data_tf(pdv(1, 3, command_set({0x0100: 0x8010, 0x0120: number, 0x0800: 0x0101, 0x0900: 0xFF00}))),
            RELEASE,
            ABORT,
        )
    )


async def misbehave(target: FuzzedAcceptor, dice: random.Random) -> None:
    peer = await target.peer()
    await as_getter(peer)
    reading = asyncio.create_task(peer.everything()) if dice.random() < 0.7 else None
    with suppress(ConnectionError):
        await peer.send(get_message())
        for _ in range(dice.randint(1, 12)):
            await peer.send(anything(dice))
            if dice.random() < 0.3:
                await asyncio.sleep(0.002)
    if dice.random() < 0.3:
        with suppress(OSError):  # closed already
            await peer.reset()
    elif reading is not None:
        await reading
    else:
        await peer.everything()
    if reading is not None:
        await reading
    await peer.close()


@pytest.mark.parametrize("seed", range(2 * EFFORT))
async def test_whatever_comes_during_a_get_its_association_ends_and_others_go_on(seed: int) -> None:
    dice = random.Random(seed)
    async with under_attack(sender, **QUICK) as target:
        count = 60
        await in_batches([lambda: misbehave(target, dice) for _ in range(count)], 20)
        await until(lambda: len(target.log.ends) >= count)


async def test_a_storm_of_cancels_ends_a_move_once() -> None:
    async with under_attack(sender) as target:
        peer = await target.peer()
        await peer.associate([(STUDY_MOVE, [IMPLICIT]), (VERIFICATION, [IMPLICIT])])
        storm = b"".join(data_tf(pdv(1, 3, cancel_rq(number))) for number in range(1, 2000))
        await peer.send(storm, data_tf(pdv(1, 3, move_rq(7)), pdv(1, 2, b"keys")), storm, storm)
        last = await peer.response()
        while last.status == 0xFF00:
            last = await peer.response()
        assert (last.status, last.message_id) == (0xFE00, 7)
        await peer.send(data_tf(pdv(3, 3, echo_rq(8))))
        assert (await peer.response()).message_id == 8, "there is one final response"
        await peer.release()


async def test_requests_without_end_during_a_get_that_is_not_read_take_no_memory() -> None:
    async with under_attack(sender, **{**QUICK, "network_timeout": 3.0}) as target:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peer = await target.peer()
        await as_getter(peer)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood = b"".join(data_tf(pdv(5, 3, echo_rq(number))) for number in range(2, 2000))

        async def pour() -> None:
            with suppress(ConnectionError):
                await peer.send(get_message())
                while not target.attackers[-1].closes:
                    await peer.send(flood)

        pouring = asyncio.create_task(pour())
        await until(lambda: target.attackers[-1].closes)
        pouring.cancel()
        await asyncio.wait([pouring])
        await peer.close()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "kilobytes"
