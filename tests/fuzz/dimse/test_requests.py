"""A-ASSOCIATE-RQ that ask for nonsense: each gets A-ASSOCIATE-AC, -RJ or A-ABORT, at once and in bounded memory."""

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from osteon.dimse import associate_rq, negotiation
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.pdu import ProtocolError
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT, pdu, request_pdu
from support.fuzz.acceptor import BY_USER, CONTEXTS, fuzz, under_attack

HEAD = request_pdu(CONTEXTS)[6:74]
APPLICATION = "1.2.840.10008.3.1.1.1"


def item(kind: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(data) if length is None else length) + data


def context(context_id: int, abstract: bytes = CT.encode(), *syntaxes: bytes) -> bytes:
    subs = [item(0x30, abstract), *(item(0x40, syntax) for syntax in syntaxes or (EXPLICIT.encode(),))]
    return item(0x20, bytes((context_id, 0, 0, 0)) + b"".join(subs))


def user(*subs: bytes) -> bytes:
    return item(0x50, item(0x51, struct.pack(">I", 16384)) + b"".join(subs))


def asked(*items: bytes, called: bytes = b"OSTEON", calling: bytes = b"PEER") -> bytes:
    names = called.ljust(16)[:16] + calling.ljust(16)[:16]
    return pdu(1, HEAD[:4] + names + HEAD[36:68] + item(0x10, APPLICATION.encode()) + b"".join(items))


def named(kind: int, uid: bytes, rest: bytes = b"\1\1") -> bytes:
    return item(kind, struct.pack(">H", len(uid)) + uid + rest)


def results(body: bytes) -> list[int]:
    answer = A_ASSOCIATE_AC()
    answer.decode(pdu(2, body))
    return [entry.result for entry in answer.presentation_context]


LONG = b"1." * 30_000
ACCEPTED = {
    "128 contexts of SOP classes that nobody knows": [context(n, b"1.9.%d" % n) for n in range(1, 256, 2)],
    "128 contexts without anything in them": [item(0x20, bytes((n, 0, 0, 0))) for n in range(1, 256, 2)],
    "128 contexts of rubbish": [context(n, bytes(range(200)), b"\xff" * 64) for n in range(1, 256, 2)],
    "a context of 7,000 transfer syntaxes": [context(1, CT.encode(), *[b"1.2.3"] * 7000)],
    "two abstract syntaxes in a context": [item(0x20, bytes((1, 0, 0, 0)) + item(0x30, b"1.2") + item(0x30, b"1.3"))],
    "UIDs of 60 kB": [context(1, LONG), context(3, CT.encode(), LONG)],
    "roles for UIDs of 60 kB": [context(1), user(named(0x54, LONG))],
    "extended negotiation of 60 kB": [context(1), user(named(0x56, CT.encode(), bytes(60_000)))],
    "a version name of 60 kB": [context(1), user(item(0x55, b"V" * 60_000))],
    "a user name of 60 kB": [context(1), user(item(0x58, struct.pack(">BBH", 1, 0, 60_000) + b"n" * 60_000))],
    "items that nobody knows": [context(1), user(*[item(kind, b"??") for kind in range(0x59, 0x100)]), item(0x99, b"")],
    "optional items that can not be read": [context(1), user(*[item(k, b"") for k in range(0x52, 0x59)] * 100)],
    "no user information": [context(1)],
    "user information twice": [context(1), user(), user()],
    "a maximum length of 2^32-1": [context(1), item(0x50, item(0x51, b"\xff" * 4))],
}
ABORTED = {
    "a context id of 0": [context(0)],
    "an even context id": [context(2)],
    "a context id twice": [context(1), context(1)],
    "129 contexts": [*(context(n) for n in range(1, 256, 2)), context(1)],
    "a context of three bytes": [item(0x20, b"\1\0\0")],
    "an item longer than the PDU": [context(1), item(0x50, b"", 65535)],
    "half an item header": [context(1), b"\x50\0"],
    "a sub-item longer than its item": [context(1), item(0x50, item(0x51, b"1234", 999))],
    "a maximum length of three bytes": [context(1), item(0x50, item(0x51, b"123"))],
    "roles without end": [context(1), *[user(*[named(0x54, b"1.2.3")] * 4000)] * 7],
    "rubbish without end": [context(1), *[user(*[item(0x58, b"")] * 15_000)] * 7],
}
REJECTED = {
    "no contexts": (asked(user()), (1, 1, 1)),
    "no application context": (asked(context(1)).replace(APPLICATION.encode(), b"1" * len(APPLICATION)), (1, 1, 2)),
    "a calling AE title of control characters": (asked(context(1), calling=b"\x1b[2J\r\n"), (1, 1, 3)),
    "a called AE title of control characters": (asked(context(1), called=b"\7\7\7"), (1, 1, 7)),
    "a maximum length of two": (asked(context(1), item(0x50, item(0x51, b"\0\0\0\2"))), (1, 1, 1)),
    "another version": (asked(context(1)).replace(b"\0\1\0\0OSTEON", b"\0\2\0\0OSTEON"), (1, 2, 2)),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_nonsense_in_an_acceptable_request_costs_only_itself(name: str) -> None:
    async with under_attack() as target:
        peer = await target.peer()
        await peer.send(asked(*ACCEPTED[name]))
        kind, body = await peer.receive()
        assert kind == 2
        assert len(body) < 20_000
        assert len(results(body)) == sum(part[0] == 0x20 for part in ACCEPTED[name])
        info = target.handlers[-1].info
        assert info is not None
        assert len(repr(info)) < 1000
        await peer.release()


@pytest.mark.parametrize("name", ABORTED)
async def test_a_request_that_cannot_be_understood_is_aborted(name: str) -> None:
    async with under_attack() as target:
        peer = await target.peer()
        await peer.send(asked(*ABORTED[name]))
        assert await peer.receive() == BY_USER
        await peer.close()
        assert not target.attackers
        assert target.log.unuseds == [AssociationEnd.PROTOCOL_ERROR]


@pytest.mark.parametrize("name", REJECTED)
async def test_a_request_that_is_understood_but_not_acceptable_is_rejected_with_its_reason(name: str) -> None:
    request, reason = REJECTED[name]
    async with under_attack() as target:
        peer = await target.peer()
        await peer.send(request)
        assert await peer.receive() == (3, bytes((0, *reason)))
        await peer.close()
        assert len(target.log.rejects) == 1
        assert target.log.unuseds == [AssociationEnd.REJECTED]


@pytest.mark.parametrize("calling", [b" " * 16, b"", b"LEFT\0\xff\xfe\7"], ids=["spaces", "nothing", "a C string"])
async def test_a_calling_ae_title_that_says_nothing_is_accepted(calling: bytes) -> None:
    async with under_attack() as target:
        peer = await target.peer()
        await peer.send(asked(context(1), calling=calling))
        assert (await peer.receive())[0] == 2
        info = target.handlers[-1].info
        assert info is not None
        assert info.calling_aet in {"", "LEFT"}
        await peer.release()


async def test_a_request_of_half_a_megabyte_is_the_longest() -> None:
    filler = [item(0x77, bytes(60_000)) for _ in range(10)]
    async with under_attack() as target:
        for count, kind in ((8, 2), (9, 7)):
            peer = await target.peer()
            await peer.send(asked(context(1), *filler[:count]))
            assert (await peer.receive())[0] == kind
            await peer.close()
        await target.settled(1)


ITEMS = st.recursive(
    st.builds(item, st.sampled_from([*range(0x50, 0x59), 0x10, 0x20, 0x30, 0x40]),
              st.binary(max_size=40)),
    lambda inner: st.builds(
        lambda kind, parts, bad: item(kind, (b"\1\0\0\0" if kind == 0x20 else b"") + b"".join(parts), bad),
        st.sampled_from([0x20, 0x50]), st.lists(inner, max_size=5), st.none() | st.integers(0, 99)),
    max_leaves=12,
)  # fmt: skip


@fuzz(150)
@given(st.lists(ITEMS, max_size=6), st.integers(0, 200), st.binary(max_size=3))
def test_any_items_are_answered_rejected_or_a_protocol_error(items: list[bytes], at: int, rubbish: bytes) -> None:
    body = bytearray(asked(context(99), *items, user())[6:])
    body[min(at, len(body)) : min(at, len(body)) + len(rubbish)] = rubbish
    try:
        asks = associate_rq.decode(bytes(body))
    except ProtocolError:
        return
    if negotiation.refuse(AcceptorConfig(), asks) is None:
        agreement = negotiation.agree(AcceptorConfig(), asks, bytes(body))
        assert results(agreement.answer[6:]) is not None
        assert set(agreement.contexts) <= {proposed.context_id for proposed in asks.contexts}


@pytest.mark.parametrize("role", [None, (True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("uid", [CT, "1.2.840.10008.5.1.4.31"])
def test_contexts_and_roles_are_answered_as_pynetdicom_would(uid: str, role: tuple[bool, bool] | None) -> None:
    body = asked(context(1, uid.encode()), *([] if role is None else [user(named(0x54, uid.encode(), bytes(role)))]))
    agreement = negotiation.agree(AcceptorConfig(), associate_rq.decode(body[6:]), body[6:])
    asks, offers = PresentationContext(), PresentationContext()
    asks.context_id = 1
    asks.abstract_syntax, offers.abstract_syntax = uid, CT
    asks.transfer_syntax = offers.transfer_syntax = [EXPLICIT]
    offers.scu_role, offers.scp_role = True, False
    expected, roles = negotiate_as_acceptor([asks], [offers], {uid: role} if role else None)
    answer = A_ASSOCIATE_AC()
    answer.decode(agreement.answer)
    assert [(e.context_id, e.result) for e in answer.presentation_context] == [(1, expected[0].result)]
    assert answer.presentation_context[0].transfer_syntax in {EXPLICIT, IMPLICIT}
    said = answer.user_information.role_selection.values()
    assert [(r.uid, r.scu, r.scp) for r in said] == [(r.sop_class_uid, r.scu_role, r.scp_role) for r in roles]


def test_requests_for_contexts_that_are_unknown_leave_no_memory_behind() -> None:
    def ask(number: int) -> None:
        body = asked(*(context(n, b"1.9.%d.%d" % (number, n)) for n in range(1, 256, 2)))[6:]
        negotiation.agree(AcceptorConfig(), associate_rq.decode(body), body)

    ask(0)
    tracemalloc.start()
    try:
        for number in range(25):
            ask(number)
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()
