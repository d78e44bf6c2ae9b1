"""A-ASSOCIATE-RQ as pynetdicom reads it, and A-ASSOCIATE-AC as pynetdicom writes it."""

import struct

import pytest
from pynetdicom.pdu import A_ASSOCIATE_RQ

from osteon.dimse import associate_rq, associate_rq_encoder, negotiation
from osteon.dimse.config import AcceptorConfig, Remote, RequestedContext, RequestorConfig
from osteon.dimse.pdu import ProtocolError
from osteon.errors import Invalid
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT, MR, STUDY_FIND, VERIFICATION

REMOTE = Remote(aet="PEER", host="127.0.0.1", port=104, calling_aet="US")
CONFIG = RequestorConfig()
ECHO = RequestedContext(abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,))
STORE = RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT, IMPLICIT))
GET = RequestedContext(abstract_syntax=MR, transfer_syntaxes=(EXPLICIT,), scu=False, scp=True)
FIND = RequestedContext(abstract_syntax=STUDY_FIND, transfer_syntaxes=(IMPLICIT,), extended=b"\1\1")


def answer_of(body: bytes) -> bytes:
    return negotiation.agree(AcceptorConfig(), associate_rq.decode(body), body).answer[6:]


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def accepted(context_id: int, syntax: str, result: int = 0) -> bytes:
    return item(0x21, bytes((context_id, 0, result, 0)) + item(0x40, syntax.encode()))


def test_a_request_is_what_pynetdicom_reads() -> None:
    read = A_ASSOCIATE_RQ()
    read.decode(
        associate_rq_encoder.encode(
            REMOTE, [ECHO, STORE, GET, FIND], RequestorConfig(async_operations=4, max_pdu=65536)
        )
    )
    assert (read.called_ae_title, read.calling_ae_title) == ("PEER", "US")
    assert [(c.context_id, c.abstract_syntax, list(c.transfer_syntax)) for c in read.presentation_context] == [
        (1, VERIFICATION, [IMPLICIT]),
        (3, CT, [EXPLICIT, IMPLICIT]),
        (5, MR, [EXPLICIT]),
        (7, STUDY_FIND, [IMPLICIT]),
    ]
    user = read.user_information
    assert user.maximum_length == 65536
    assert (user.async_ops_window.max_operations_invoked, user.async_ops_window.max_operations_performed) == (4, 1)
    assert {uid: (r.scu_role, r.scp_role) for uid, r in user.role_selection.items()} == {MR: (0, 1)}
    assert [(e.sop_class_uid, e.app_info) for e in user.ext_neg] == [(STUDY_FIND, b"\1\1")]
    assert user.implementation_version_name.startswith("OSTEON")


def test_our_acceptor_reads_what_is_requested() -> None:
    read = associate_rq.decode(associate_rq_encoder.encode(REMOTE, [ECHO, GET, FIND], CONFIG)[6:])
    assert (read.called_aet, read.calling_aet, read.skipped) == ("PEER", "US", [])
    assert read.roles == {MR: (False, True)}
    assert read.extended == {STUDY_FIND: b"\1\1"}
    assert read.async_operations is None


def test_contexts_of_one_class_share_the_roles_of_all() -> None:
    asked = [RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,)), RequestedContext(
        abstract_syntax=CT, transfer_syntaxes=(IMPLICIT,), scu=False, scp=True
    )]  # fmt: skip
    assert associate_rq.decode(associate_rq_encoder.encode(REMOTE, asked, CONFIG)[6:]).roles == {CT: (True, True)}


def test_what_is_accepted_is_agreed() -> None:
    asked = [
        ECHO,
        STORE,
        FIND,
        RequestedContext(abstract_syntax="1.2.840.10008.5.1.1.1", transfer_syntaxes=(IMPLICIT,)),
    ]
    answer = associate_rq_encoder.decode(answer_of(associate_rq_encoder.encode(REMOTE, asked, CONFIG)[6:]))
    agreement = associate_rq_encoder.agree(asked, answer, CONFIG)
    contexts = [entry.context for entry in agreement.contexts.values()]
    assert [(c.context_id, c.abstract_syntax, c.transfer_syntax, c.extended) for c in contexts] == [
        (1, VERIFICATION, IMPLICIT, b""),
        (3, CT, EXPLICIT, b""),
        (5, STUDY_FIND, IMPLICIT, b"\1\1"),
    ]
    assert all(entry.service is None for entry in agreement.contexts.values())


@pytest.mark.parametrize(
    ("answered", "roles"),
    [
        (None, (True, False)),
        ((True, True), (True, True)),
        ((False, True), (False, True)),
        ((False, False), (False,) * 2),
    ],
)
def test_roles_are_those_that_were_answered(answered: tuple[bool, bool] | None, roles: tuple[bool, bool]) -> None:
    both = RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,), scp=True)
    answer = associate_rq_encoder.AssociateAccept(
        contexts={1: (0, EXPLICIT)}, roles={} if answered is None else {CT: answered}
    )
    (entry,) = associate_rq_encoder.agree([both], answer, CONFIG).contexts.values()
    assert (entry.context.scu, entry.context.scp) == roles


def test_roles_that_were_not_requested_are_not_taken() -> None:
    answer = associate_rq_encoder.AssociateAccept(contexts={1: (0, EXPLICIT)}, roles={CT: (True, True)})
    (entry,) = associate_rq_encoder.agree([STORE], answer, CONFIG).contexts.values()
    assert (entry.context.scu, entry.context.scp) == (True, False)


@pytest.mark.parametrize(
    "contexts", [{1: (0, EXPLICIT)}, {3: (0, IMPLICIT)}, {1: (3, "")}, {2: (0, IMPLICIT)}], ids=str
)
def test_a_context_that_was_not_requested_like_that_is_left_out(contexts: dict[int, tuple[int, str]]) -> None:
    assert not associate_rq_encoder.agree(
        [ECHO], associate_rq_encoder.AssociateAccept(contexts=contexts), CONFIG
    ).contexts


@pytest.mark.parametrize(
    ("asked", "granted", "window"), [(1, None, 1), (4, None, 1), (4, (2, 1), 2), (4, (0, 0), 4), (4, (9, 1), 4)]
)
def test_no_more_operations_are_in_flight_than_requested_and_granted(
    asked: int, granted: tuple[int, int] | None, window: int
) -> None:
    answer = associate_rq_encoder.AssociateAccept(async_operations=granted)
    assert associate_rq_encoder.agree([ECHO], answer, RequestorConfig(async_operations=asked)).window == window


@pytest.mark.parametrize("count", [0, 129])
def test_more_than_128_contexts_or_none_are_refused(count: int) -> None:
    with pytest.raises(Invalid, match=f"{count} presentation contexts, expected 1 to 128"):
        associate_rq_encoder.encode(REMOTE, [ECHO] * count, CONFIG)


def test_128_contexts_are_requested_with_odd_ids() -> None:
    read = associate_rq.decode(associate_rq_encoder.encode(REMOTE, [ECHO] * 128, CONFIG)[6:])
    assert [context.context_id for context in read.contexts] == list(range(1, 256, 2))


@pytest.mark.parametrize("aet", ["", "    ", "SEVENTEEN LETTERS", "BACK\\SLASH", "TAB\t", "MÜNCHEN"], ids=repr)
def test_an_ae_title_that_is_none_is_refused(aet: str) -> None:
    with pytest.raises(Invalid, match="AE title"):
        associate_rq_encoder.encode(Remote(aet=aet, host="x", port=1), [ECHO], CONFIG)


@pytest.mark.parametrize(
    "proposed",
    [
        RequestedContext(abstract_syntax="", transfer_syntaxes=(IMPLICIT,)),
        RequestedContext(abstract_syntax=CT, transfer_syntaxes=()),
        RequestedContext(abstract_syntax=CT, transfer_syntaxes=("1." * 40,)),
    ],
    ids=["no abstract syntax", "no transfer syntax", "a long transfer syntax"],
)
def test_a_context_that_cannot_be_requested_is_refused(proposed: RequestedContext) -> None:
    with pytest.raises(Invalid):
        associate_rq_encoder.encode(REMOTE, [proposed], CONFIG)


@pytest.mark.parametrize(
    "items",
    [
        accepted(1, IMPLICIT) + accepted(1, IMPLICIT),
        item(0x21, b"\1\0\0"),
        item(0x21, bytes((1, 0, 0, 0))),
        accepted(1, "no uid"),
        item(0x21, bytes((1, 0, 0, 0)) + item(0x40, b"1.2") * 2),
        item(0x50, item(0x51, struct.pack(">I", 5))),
        item(0x50, item(0x51, b"")),
        item(0x50, item(0x55, b"x") * 1100),
        item(0x50, item(0x55, b"x") * 700) * 2,
        b"\x21\0\xff\xff\1",
        b"\x21",
    ],
    ids=range(11),
)
def test_an_answer_that_is_broken_is_a_protocol_error(items: bytes) -> None:
    with pytest.raises(ProtocolError):
        associate_rq_encoder.decode(bytes(68) + items)


def test_the_syntax_of_a_refused_context_does_not_matter() -> None:
    answer = associate_rq_encoder.decode(bytes(68) + accepted(1, "rubbish", 4) + item(0x21, bytes((3, 0, 3, 0))))
    assert answer.contexts == {1: (4, ""), 3: (3, "")}


@pytest.mark.parametrize("body", [b"", bytes(3), bytes(5)], ids=len)
def test_a_rejection_of_another_length_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        associate_rq_encoder.rejection(body)
