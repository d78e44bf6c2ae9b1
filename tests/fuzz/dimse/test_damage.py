"""Conversations with random damage: whatever comes, the association ends cleanly or goes on."""

import asyncio
import random

import pytest

from osteon.dimse.acceptor import Acceptor
from osteon.dimse.association import AcceptedAssociation
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.read_turns import ReadTurns
from support.dimse.raw_peer import (
    ObserverLog,
    RecordingHandler,
    cancel_rq,
    data_tf,
    echo_rq,
    find_rq,
    pdu,
    pdv,
    request_pdu,
    store_message,
    store_rq,
)
from support.fuzz.acceptor import CONTEXTS, MemoryTransport
from support.fuzz.case_counts import EFFORT

PARTS = [
    store_message(1),
    store_message(2, data=bytes(700)),
    data_tf(pdv(1, 1, store_rq(3)[:30]), pdv(1, 3, store_rq(3)[30:]), pdv(1, 0), pdv(1, 2, b"x" * 90)),
    data_tf(pdv(3, 3, echo_rq(4))),
    data_tf(pdv(5, 3, find_rq(5)), pdv(5, 2, b"keys")),
    data_tf(pdv(5, 3, cancel_rq(5))),
    pdu(5),
    pdu(7),
    pdu(1, bytes(80)),
]


def damage(dice: random.Random, conversation: bytes) -> bytes:
    data = bytearray(conversation)
    for _ in range(dice.choice([0, 1, 1, 2, 5, 20])):
        at = dice.randrange(len(data))
        kind = dice.randrange(4)
        if kind == 0:
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at : at + dice.randrange(1, 20)]
        elif kind == 2:
            data[at:at] = dice.randbytes(dice.randrange(1, 20))
        else:
            data[at : at + 4] = dice.choice([b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\1", b"\x7f\xff\xff\xff"])
        if not data:
            return b"\0"
    return bytes(data)


@pytest.mark.parametrize("seed", range(400 * EFFORT))
async def test_damaged_conversations_end_every_sink_once_and_never_fail_inside(seed: int) -> None:
    dice = random.Random(seed)
    log, handlers = ObserverLog(), []

    def factory(info: AssociationInfo) -> RecordingHandler:
        handlers.append(RecordingHandler(info))
        return handlers[-1]

    loop = asyncio.get_running_loop()
    acceptor = Acceptor(AcceptorConfig(), factory, log)
    wire = MemoryTransport(AcceptedAssociation(loop, acceptor, ReadTurns(loop, 1024)), loop)
    opening = request_pdu(CONTEXTS)
    parts = b"".join(dice.choice(PARTS) for _ in range(dice.randrange(1, 8)))
    data = opening + damage(dice, parts) if dice.random() < 0.7 else damage(dice, opening + parts)
    at = 0
    while at < len(data):
        piece = data[at : at + dice.choice([1, 7, 100, 1024])]
        wire.feed(piece, len(piece))
        at += len(piece)
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    wire.said()
    wire.lose()
    await asyncio.sleep(0)
    for handler in handlers:
        await asyncio.wait_for(handler.ended.wait(), 5)
        assert handler.closes == 1
        assert all(sink.end in {"finish", "abort"} for sink in handler.sinks)
    assert AssociationEnd.FAILED not in log.ends
    assert len(log.ends) == len(log.accepts) == len(handlers)
    assert len(log.unuseds) == 1 - len(handlers)
    assert acceptor.associations == 0
    assert not acceptor.waiting
