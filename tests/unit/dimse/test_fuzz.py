"""Conversations with random damage: whatever comes, the association ends cleanly or goes on."""

import asyncio
import random

import pytest

from osteon.dimse.acceptor import Acceptor
from osteon.dimse.association import AcceptedAssociation
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import Ended
from support.dimse import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    VERIFICATION,
    Log,
    Recorder,
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

CONTEXTS = [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT]), (STUDY_FIND, [IMPLICIT])]
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


class Transport(asyncio.Transport):
    """Takes everything, and closes when told."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        self.written = bytearray()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.closing = True


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


@pytest.mark.parametrize("seed", range(400))
async def test_damaged_conversations_end_every_sink_once_and_never_fail_inside(seed: int) -> None:
    dice = random.Random(seed)
    log, handlers = Log(), []

    def factory(info: AssociationInfo) -> Recorder:
        handlers.append(Recorder(info))
        return handlers[-1]

    acceptor = Acceptor(AcceptorConfig(), factory, log)
    buffer = memoryview(bytearray(1024))
    association = AcceptedAssociation(asyncio.get_running_loop(), acceptor, buffer)
    transport = Transport()
    association.connection_made(transport)
    opening = request_pdu(CONTEXTS)
    parts = b"".join(dice.choice(PARTS) for _ in range(dice.randrange(1, 8)))
    data = opening + damage(dice, parts) if dice.random() < 0.7 else damage(dice, opening + parts)
    at = 0
    while at < len(data) and not transport.closing:
        piece = data[at : at + dice.choice([1, 7, 100, 1024])]
        association.get_buffer(-1)[: len(piece)] = piece
        association.buffer_updated(len(piece))
        at += len(piece)
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    association.connection_lost(None)
    for handler in handlers:
        await asyncio.wait_for(handler.ended.wait(), 5)
        assert handler.closes == 1
        assert all(sink.end in {"finish", "abort"} for sink in handler.sinks)
    assert Ended.FAILED not in log.ends
    assert len(log.ends) == len(log.accepts) == len(handlers)
    assert acceptor.associations == 0
    assert not association.tasks
