"""Answers that attack a requestor: damaged A-ASSOCIATE-AC, and damaged responses."""

import asyncio
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.dimse import associate_rq, associate_rq_encoder, negotiation
from osteon.dimse.config import AcceptorConfig, Remote, RequestorConfig
from osteon.dimse.pdu import ProtocolError
from osteon.dimse.requestor import NotAccepted, RequestorError, associate
from support.dimse.raw_peer import STUDY_FIND, RawPeer, data_tf, pdv
from support.dimse.scripted_acceptor import ALL, accept, request, response, scripted
from support.fuzz.acceptor import fuzz
from support.fuzz.case_counts import EFFORT

REQUEST = associate_rq_encoder.encode(Remote(aet="PEER", host="x", port=1), ALL, RequestorConfig())[6:]
ANSWER = negotiation.agree(AcceptorConfig(), associate_rq.decode(REQUEST), REQUEST).answer[6:]
QUICK = RequestorConfig(artim_timeout=0.05, dimse_timeout=0.05, network_timeout=0.05)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Change, cut, double or insert bytes in a few places."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(changed) + 1)
        kind = dice.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] = dice.choice((0, 1, 0x21, 0x40, 0x50, 0x7F, 0xFF, dice.randrange(256)))
        elif kind == 1:
            del changed[at : at + dice.randint(1, 8)]
        elif kind == 2:
            changed[at:at] = changed[at : at + dice.randint(1, 40)]
        else:
            changed[at:at] = dice.randbytes(dice.randint(1, 8))
    return bytes(changed)


def look(body: bytes) -> None:
    try:
        answer = associate_rq_encoder.decode(body)
    except ProtocolError:
        return
    agreement = associate_rq_encoder.agree(ALL, answer, RequestorConfig(async_operations=8))
    assert set(agreement.contexts) <= {1, 3, 5}
    assert 1 <= agreement.window <= 8
    assert agreement.send_limit >= 8
    assert len(answer.skipped) <= 10


@pytest.mark.parametrize("seed", range(4 * EFFORT))
def test_a_damaged_answer_is_read_or_a_protocol_error(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(500):
        look(damaged(ANSWER, dice))


def test_every_truncation_of_an_answer_is_read_or_a_protocol_error() -> None:
    for length in range(len(ANSWER)):
        look(ANSWER[:length])


@fuzz(200)
@given(st.binary(max_size=300))
def test_any_items_are_read_or_a_protocol_error(items: bytes) -> None:
    look(bytes(68) + items)


def test_the_longest_answer_costs_little() -> None:
    short = struct.pack(">BxH", 0x77, 0)
    look(bytes(68) + short * (512 << 8))
    with pytest.raises(ProtocolError):
        associate_rq_encoder.decode(bytes(68) + struct.pack(">BxH", 0x50, 65_532) + short * 16_383)


@pytest.mark.parametrize("seed", range(3 * EFFORT))
async def test_damaged_answers_and_responses_end_in_an_error_or_an_answer(seed: int) -> None:
    """Whatever comes, the requestor is told in time, and what it is told is of its own error tree."""
    dice = random.Random(seed)
    hit = dice.randrange(2)

    async def attack(peer: RawPeer) -> None:
        if hit:
            await peer.receive()
            await peer.send(damaged(struct.pack(">BxI", 2, len(ANSWER)) + ANSWER, dice))
        else:
            await accept(peer)
            context_id, command, _ = await request(peer)
            answer = response(command, 0xFF00, data=True, context_id=context_id) + data_tf(pdv(context_id, 2, b"match"))
            await peer.send(*(damaged(answer, dice) for _ in range(3)), response(command, context_id=context_id))
        await peer.reader.read()

    async with scripted(attack) as remote:
        for _ in range(8):
            try:
                async with asyncio.timeout(10), associate(remote, ALL, QUICK) as association:
                    context = association.context_for(STUDY_FIND)
                    if context is not None:
                        found = [found async for found in association.find(context, b"id")]
                        assert found
                    await association.abort()
            except (RequestorError, NotAccepted):
                pass
