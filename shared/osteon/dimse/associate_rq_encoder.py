"""What a requestor requests and is granted: A-ASSOCIATE-RQ, -AC and -RJ (PS3.8 9.3.2 to 9.3.4, PS3.7 D.3)."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from osteon.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, is_uid
from osteon.dimse import associate_rq
from osteon.dimse.associate_rq import FIXED_PART, UserInformation, counted, encode_item
from osteon.dimse.config import Remote, RequestedContext, RequestorConfig
from osteon.dimse.errors import AssociationRejected
from osteon.dimse.handler import PresentationContext
from osteon.dimse.negotiation import APPLICATION_CONTEXT, AcceptedContext, Agreement, send_limit
from osteon.dimse.pdu import PDU_HEADER, SHORTEST_PDU, PduType, ProtocolError
from osteon.dimse.sop_classes import ServiceClass
from osteon.errors import Invalid

MOST_CONTEXTS = 128
"""Presentation contexts of one association: odd numbers in a byte (PS3.8 9.3.2.2)."""
_LONGEST_AET = 16
_ACCEPTED = 0
_ANSWERED_CONTEXT = 0x21


@dataclass(slots=True, kw_only=True)
class AssociateAccept(UserInformation):
    """A-ASSOCIATE-AC: result and transfer syntax of each presentation context by its id."""

    contexts: dict[int, tuple[int, str]] = field(default_factory=dict)


def encode(remote: Remote, contexts: Sequence[RequestedContext], config: RequestorConfig) -> bytes:
    """Write A-ASSOCIATE-RQ; context ids are 1, 3, 5…. Raises `Invalid` for what cannot be requested."""
    if not 1 <= len(contexts) <= MOST_CONTEXTS:
        raise Invalid(f"{len(contexts)} presentation contexts, expected 1 to {MOST_CONTEXTS}")
    body = b"".join(
        (
            b"\0\1\0\0",
            _ae_title("called", remote.aet),
            _ae_title("calling", remote.calling_aet),
            bytes(32),
            encode_item(0x10, APPLICATION_CONTEXT.encode()),
            *(_context(2 * number + 1, proposed) for number, proposed in enumerate(contexts)),
            encode_item(0x50, b"".join(_user_items(contexts, config))),
        )
    )
    return PDU_HEADER.pack(PduType.ASSOCIATE_RQ, len(body)) + body


def decode(body: bytes) -> AssociateAccept:
    """Read the body of A-ASSOCIATE-AC. Raises `ProtocolError`."""
    if len(body) < FIXED_PART:
        raise ProtocolError(f"A-ASSOCIATE-AC of {len(body)} bytes, expected at least {FIXED_PART}")
    answer = AssociateAccept()
    for kind, item in associate_rq.items(body[FIXED_PART:]):
        if kind == _ANSWERED_CONTEXT:
            _read_context(answer, item)
        elif kind == associate_rq.USER_INFORMATION:
            associate_rq.read_user_information(answer, item)
    if 0 < answer.max_pdu < SHORTEST_PDU:
        raise ProtocolError(f"maximum PDU length of {answer.max_pdu} bytes, expected 0 or at least {SHORTEST_PDU}")
    return answer


def rejection(body: bytes) -> AssociationRejected:
    """Read the body of A-ASSOCIATE-RJ. Raises `ProtocolError`."""
    if len(body) != 4:
        raise ProtocolError(f"A-ASSOCIATE-RJ of {len(body)} bytes, expected 4")
    return AssociationRejected(*body[1:])


def agree(contexts: Sequence[RequestedContext], answer: AssociateAccept, config: RequestorConfig) -> Agreement:
    """Compare the request with the answer: contexts that were not requested in this form are left out."""
    accepted: dict[int, AcceptedContext] = {}
    for number, proposed in enumerate(contexts):
        context_id = 2 * number + 1
        result, syntax = answer.contexts.get(context_id, (-1, ""))
        if result == _ACCEPTED and syntax in proposed.transfer_syntaxes:
            accepted[context_id] = _accept(context_id, proposed, syntax, answer)
    granted = 1 if answer.async_operations is None else answer.async_operations[0] or config.async_operations
    window = max(1, min(granted, config.async_operations))
    return Agreement(accepted, window, send_limit(answer))


def _accept(context_id: int, proposed: RequestedContext, syntax: str, answer: AssociateAccept) -> AcceptedContext:
    uid = proposed.abstract_syntax
    # Without an answer the roles are the usual ones (PS3.7 D.3.3.4).
    scu, scp = answer.roles.get(uid, (True, False))
    context = PresentationContext(
        context_id, uid, syntax, answer.extended.get(uid, b""), scu=scu and proposed.scu, scp=scp and proposed.scp
    )
    return AcceptedContext(context, ServiceClass.STORAGE if context.scp else None)


def _ae_title(which: str, title: str) -> bytes:
    encoded = title.strip(" ").encode("ascii", "replace")
    if not 1 <= len(encoded) <= _LONGEST_AET or not title.isascii() or not title.isprintable() or "\\" in title:
        raise Invalid(f"{which} AE title {title!r}: expected 1 to {_LONGEST_AET} characters of ASCII, no backslash")
    return encoded.ljust(_LONGEST_AET)


def _uid(uid: str) -> bytes:
    if not is_uid(uid):
        raise Invalid(f"{uid[:80]!r} is not a UID")
    return uid.encode()


def _context(context_id: int, proposed: RequestedContext) -> bytes:
    if not proposed.transfer_syntaxes:
        raise Invalid(f"{proposed.abstract_syntax} is proposed without a transfer syntax")
    syntaxes = b"".join([encode_item(associate_rq.TRANSFER_SYNTAX, _uid(uid)) for uid in proposed.transfer_syntaxes])
    abstract = encode_item(0x30, _uid(proposed.abstract_syntax))
    return encode_item(0x20, bytes((context_id, 0, 0, 0)) + abstract + syntaxes)


def _user_items(contexts: Sequence[RequestedContext], config: RequestorConfig) -> Iterator[bytes]:
    """Yield the sub-items of User Information in the order of their types, as PS3.7 D.3.3 shows them."""
    yield encode_item(0x51, struct.pack(">I", config.max_pdu))
    yield encode_item(0x52, IMPLEMENTATION_CLASS_UID.encode())
    if config.async_operations != 1:
        yield encode_item(0x53, struct.pack(">HH", config.async_operations, 1))
    for uid, (scu, scp) in _roles(contexts).items():
        yield encode_item(0x54, counted(_uid(uid)) + bytes((scu, scp)))
    yield encode_item(0x55, IMPLEMENTATION_VERSION_NAME.encode())
    for uid, information in {p.abstract_syntax: p.extended for p in contexts if p.extended}.items():
        yield encode_item(0x56, counted(_uid(uid)) + information)


def _roles(contexts: Sequence[RequestedContext]) -> dict[str, tuple[bool, bool]]:
    """Return the roles of the SOP classes for which they are not the usual ones; all contexts of a class share them."""
    roles: dict[str, tuple[bool, bool]] = {}
    for proposed in contexts:
        scu, scp = roles.get(proposed.abstract_syntax, (False, False))
        roles[proposed.abstract_syntax] = scu or proposed.scu, scp or proposed.scp
    return {uid: both for uid, both in roles.items() if both != (True, False)}


def _read_context(answer: AssociateAccept, item: bytes) -> None:
    if len(item) < 8:
        raise ProtocolError("presentation context item is too short for its result")
    context_id, result = item[4], item[6]
    if context_id in answer.contexts:
        raise ProtocolError(f"presentation context id {context_id} is given twice")
    if result != _ACCEPTED:
        # The transfer syntax of a refused context means nothing, and some leave it out (PS3.8 Table 9-18).
        answer.contexts[context_id] = result, ""
        return
    try:
        syntaxes = [
            associate_rq.read_uid(sub)
            for kind, sub in associate_rq.items(item[8:])
            if kind == associate_rq.TRANSFER_SYNTAX
        ]
    except ValueError as error:
        raise ProtocolError(f"presentation context {context_id}: {error}") from error
    if len(syntaxes) != 1:
        raise ProtocolError(f"presentation context {context_id} is accepted with {len(syntaxes)} transfer syntaxes")
    answer.contexts[context_id] = result, syntaxes[0]
