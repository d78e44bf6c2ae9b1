"""What the acceptor grants (PS3.7 D.3, PS3.8 7.1 and Annex D), and A-ASSOCIATE-AC (PS3.8 9.3.3)."""

import struct
from dataclasses import dataclass

from osteon.dicom.models import GET_MODELS
from osteon.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, IMPLICIT_VR_LITTLE_ENDIAN
from osteon.dimse import sop_classes
from osteon.dimse.associate_rq import (
    FIXED_PART,
    USER_INFORMATION,
    AssociateRequest,
    UserInformation,
    counted,
    encode_item,
)
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import PresentationContext
from osteon.dimse.observer import RejectReason
from osteon.dimse.pdu import LONGEST_PDU, PDU_HEADER, SHORTEST_PDU, PduType
from osteon.dimse.sop_classes import ServiceClass

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_CONTEXT_ITEM = struct.Struct(">BxHBxBxBxH")
_ACCEPTED = 0
_USER_REJECTION = 1
_ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
_TRANSFER_SYNTAXES_NOT_SUPPORTED = 4
_USER_NAMES = {1, 2}
"""Kinds of user identity that a positive response answers with nothing but itself; the others need a ticket."""
_LONGEST_EXTENDED = 16
"""Bytes of service-class-application-information that are answered; what is defined has six at most."""
_RETRIEVE_OFFER = bytes((1, 0))
"""Relational retrieval, no conversion to enhanced multi-frame (PS3.4 C.5.2.1.1)."""
_STORAGE_OFFER = bytes((2, 0, 3, 0, 0, 0))
"""Level 2 (all attributes), bit-preserving digital signatures, no coercion (PS3.4 B.3.1.4.1)."""


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """An accepted presentation context and what it is for."""

    context: PresentationContext
    service: ServiceClass | None
    """What the peer may request in it; None: nothing."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The result of negotiation, which both sides keep to."""

    contexts: dict[int, AcceptedContext]
    window: int
    """Operations that the requestor may have in flight."""
    send_limit: int
    """Maximum length of the PDUs that are sent."""
    answer: bytes = b""
    """A-ASSOCIATE-AC, on the acceptor's side."""


def refuse(config: AcceptorConfig, proposal: AssociateRequest) -> RejectReason | None:
    """Return why the association cannot be accepted for what it requests, or None."""
    if not proposal.protocol_version & 1:
        return RejectReason.PROTOCOL_VERSION_NOT_SUPPORTED
    if proposal.application_context != APPLICATION_CONTEXT:
        return RejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED
    # Control characters are in no AE title (PS3.5 6.2); in logs and tables they would do harm.
    if not proposal.called_aet.isprintable() or (config.check_called_aet and proposal.called_aet != config.aet.strip()):
        return RejectReason.CALLED_AET_NOT_RECOGNIZED
    if not proposal.calling_aet.isprintable() or (
        config.allowed_aets and proposal.calling_aet not in config.allowed_aets
    ):
        return RejectReason.CALLING_AET_NOT_RECOGNIZED
    if 0 < proposal.max_pdu < SHORTEST_PDU or not proposal.contexts:
        return RejectReason.NO_REASON
    return None


def agree(config: AcceptorConfig, proposal: AssociateRequest, request: bytes) -> Agreement:
    """Negotiate everything; `request` is the body of the A-ASSOCIATE-RQ, of which the answer repeats a part."""
    extended = _extended_answers(config, proposal)
    answers: list[bytes] = []
    roles: dict[str, bytes] = {}
    accepted: dict[int, AcceptedContext] = {}
    gets = any(proposed.abstract_syntax in GET_MODELS for proposed in proposal.contexts)
    for proposed in proposal.contexts:
        uid = proposed.abstract_syntax
        service = _service(config, proposal, uid)
        role = proposal.roles.get(uid)
        scu, scp = _granted(service, role, gets=gets)
        to_send = uid if scp and not scu else ""
        syntax = sop_classes.choose_syntax(service, proposed.transfer_syntaxes, to_send=to_send) if service else None
        result = _result(service, syntax, scu or scp)
        answers.append(_context_item(proposed.context_id, result, syntax))
        if result == _ACCEPTED and service and syntax:
            context = PresentationContext(proposed.context_id, uid, syntax, extended.get(uid, b""), scu, scp)
            accepted[proposed.context_id] = AcceptedContext(context, service if scu else None)
            if role is not None:
                roles[uid] = encode_item(0x54, counted(uid.encode()) + bytes((scu, scp)))
    window, window_answer = _window(config, proposal)
    served = {entry.context.abstract_syntax for entry in accepted.values()}
    user_items = [
        *_own_items(config),
        *window_answer,
        *roles.values(),
        *(encode_item(0x56, counted(uid.encode()) + answer) for uid, answer in extended.items() if uid in served),
        *_identity_answer(proposal),
    ]
    return Agreement(accepted, window, send_limit(proposal), _encode(answers, user_items, request))


def send_limit(peer: UserInformation) -> int:
    """Return the maximum length of the PDUs that are sent to a peer."""
    return min(peer.max_pdu or LONGEST_PDU, LONGEST_PDU)


def _service(config: AcceptorConfig, proposal: AssociateRequest, abstract_syntax: str) -> ServiceClass | None:
    if not abstract_syntax:
        return None
    return sop_classes.service_of(
        abstract_syntax,
        extra=config.extra_sop_classes,
        unknown=config.store_unknown_sop_classes,
        declared=proposal.service_classes.get(abstract_syntax, ""),
    )


def _granted(service: ServiceClass | None, requested: tuple[bool, bool] | None, *, gets: bool) -> tuple[bool, bool]:
    """Return whether the requestor may be SCU and SCP (PS3.7 D.3.3.4); without role selection it is SCU."""
    scu, scp = requested or (True, False)
    # Storage commitment is used from here too, and its provider may come back with the report (PS3.4 J.3.3);
    # with C-GET, instances come to the requestor (PS3.4 C.5.3).
    return scu, scp and (service is ServiceClass.COMMITMENT or (gets and service is ServiceClass.STORAGE))


def _result(service: ServiceClass | None, syntax: str | None, has_role: bool) -> int:
    if service is None:
        return _ABSTRACT_SYNTAX_NOT_SUPPORTED
    if syntax is None:
        return _TRANSFER_SYNTAXES_NOT_SUPPORTED
    return _ACCEPTED if has_role else _USER_REJECTION


def _context_item(context_id: int, result: int, syntax: str | None) -> bytes:
    """Encode the answer to a presentation context (PS3.8 9.3.3.2)."""
    # The transfer syntax of a refused context means nothing, but its sub-item must be there (PS3.8 Table 9-18).
    uid = (syntax or IMPLICIT_VR_LITTLE_ENDIAN).encode()
    return _CONTEXT_ITEM.pack(0x21, len(uid) + 8, context_id, result, 0x40, len(uid)) + uid


def _window(config: AcceptorConfig, proposal: AssociateRequest) -> tuple[int, list[bytes]]:
    if proposal.async_operations is None:
        return 1, []
    invoked, performed = proposal.async_operations
    granted = min(invoked or config.async_operations, config.async_operations)
    return granted, [encode_item(0x53, struct.pack(">HH", granted, min(performed or 1, 1)))]


def _extended_answers(config: AcceptorConfig, proposal: AssociateRequest) -> dict[str, bytes]:
    answers = {}
    for uid, information in proposal.extended.items():
        requested = information[:_LONGEST_EXTENDED]
        service = _service(config, proposal, uid)
        if service is ServiceClass.QUERY and requested:
            offer = config.query_options.ljust(len(requested), b"\0")
            answers[uid] = bytes(a & 1 & b for a, b in zip(requested, offer, strict=False))
        elif service in {ServiceClass.MOVE, ServiceClass.GET} and requested:
            answers[uid] = bytes(a & 1 & b for a, b in zip(requested, _RETRIEVE_OFFER, strict=False))
        elif service is ServiceClass.STORAGE and requested:
            answers[uid] = _STORAGE_OFFER[: max(len(requested), 1)]
    return answers


def _identity_answer(proposal: AssociateRequest) -> list[bytes]:
    identity = proposal.user_identity
    if identity is None or not identity.wants_response or identity.kind not in _USER_NAMES:
        return []
    return [encode_item(0x59, counted(b""))]


def _own_items(config: AcceptorConfig) -> list[bytes]:
    return [
        encode_item(0x51, struct.pack(">I", config.max_pdu)),
        encode_item(0x52, IMPLEMENTATION_CLASS_UID.encode()),
        encode_item(0x55, IMPLEMENTATION_VERSION_NAME.encode()),
    ]


def _encode(contexts: list[bytes], user_items: list[bytes], request: bytes) -> bytes:
    # AE titles and reserved bytes go back exactly as they came (PS3.8 Table 9-17).
    fixed = b"\0\1\0\0" + request[4:FIXED_PART]
    application = encode_item(0x10, APPLICATION_CONTEXT.encode())
    body = b"".join((fixed, application, *contexts, encode_item(USER_INFORMATION, b"".join(user_items))))
    return PDU_HEADER.pack(PduType.ASSOCIATE_AC, len(body)) + body
