"""The state machine of the upper layer: what a received PDU means in each state (PS3.8 Table 9-10)."""

from enum import Enum, IntEnum

from osteon.dimse.pdu import PduType


class State(IntEnum):
    """Sta1 to Sta13 of PS3.8 9.2.2; Sta3 and Sta4 do not last here."""

    IDLE = 1
    AWAITING_REQUEST = 2
    AWAITING_ANSWER = 5
    ESTABLISHED = 6
    RELEASING = 7
    RELEASE_INDICATED = 8
    COLLISION_AS_REQUESTOR = 9
    COLLISION_AS_ACCEPTOR = 10
    COLLISION_AWAITING_PEER = 11
    COLLISION_ANSWERING = 12
    CLOSING = 13


class Action(Enum):
    """The actions of PS3.8 Tables 9-6 to 9-9 that a PDU can cause."""

    CONFIRM_ACCEPT = "AE-3"
    CONFIRM_REJECT = "AE-4"
    INDICATE_ASSOCIATE = "AE-6"
    DATA = "DT-2"
    INDICATE_RELEASE = "AR-2"
    CONFIRM_RELEASE = "AR-3"
    DATA_WHILE_RELEASING = "AR-6"
    COLLIDE = "AR-8"
    CONFIRM_COLLIDED_RELEASE = "AR-10"
    ABORT_AS_USER = "AA-1"
    CLOSE = "AA-2"
    INDICATE_ABORT = "AA-3"
    IGNORE = "AA-6"
    ABORT_AGAIN = "AA-7"
    ABORT_AS_PROVIDER = "AA-8"


OPEN_STATES = frozenset(range(State.ESTABLISHED, State.CLOSING))
"""In these an association exists."""

_OTHERWISE = {State.AWAITING_REQUEST: Action.ABORT_AS_USER, State.CLOSING: Action.IGNORE}

_TABLE = {
    (State.AWAITING_REQUEST, PduType.ASSOCIATE_RQ): Action.INDICATE_ASSOCIATE,
    (State.AWAITING_REQUEST, PduType.ABORT): Action.CLOSE,
    (State.AWAITING_ANSWER, PduType.ASSOCIATE_AC): Action.CONFIRM_ACCEPT,
    (State.AWAITING_ANSWER, PduType.ASSOCIATE_RJ): Action.CONFIRM_REJECT,
    (State.AWAITING_ANSWER, PduType.ABORT): Action.INDICATE_ABORT,
    (State.ESTABLISHED, PduType.P_DATA_TF): Action.DATA,
    (State.ESTABLISHED, PduType.RELEASE_RQ): Action.INDICATE_RELEASE,
    (State.RELEASING, PduType.P_DATA_TF): Action.DATA_WHILE_RELEASING,
    (State.RELEASING, PduType.RELEASE_RQ): Action.COLLIDE,
    (State.RELEASING, PduType.RELEASE_RP): Action.CONFIRM_RELEASE,
    (State.COLLISION_AS_ACCEPTOR, PduType.RELEASE_RP): Action.CONFIRM_COLLIDED_RELEASE,
    (State.COLLISION_AWAITING_PEER, PduType.RELEASE_RP): Action.CONFIRM_RELEASE,
    **{(State(state), PduType.ABORT): Action.INDICATE_ABORT for state in OPEN_STATES},
    (State.CLOSING, PduType.ASSOCIATE_RQ): Action.ABORT_AGAIN,
    (State.CLOSING, PduType.UNRECOGNIZED): Action.ABORT_AGAIN,
    (State.CLOSING, PduType.ABORT): Action.CLOSE,
}


_TLS_HANDSHAKE, _TLS_ALERT = 0x16, 0x15
"""First byte of a TLS record (RFC 8446 5.1)."""
_NAMES = {
    PduType.ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    PduType.ASSOCIATE_AC: "A-ASSOCIATE-AC",
    PduType.ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    PduType.P_DATA_TF: "P-DATA-TF",
    PduType.RELEASE_RQ: "A-RELEASE-RQ",
    PduType.RELEASE_RP: "A-RELEASE-RP",
    PduType.ABORT: "A-ABORT",
}
_WORDS = {
    State.AWAITING_REQUEST: "an association request was expected",
    State.AWAITING_ANSWER: "the answer to the association request was expected",
    State.ESTABLISHED: "the association was open",
    State.CLOSING: "the connection was about to close",
}


def describe_state(state: State) -> str:
    """Say in words what an association was at."""
    return _WORDS.get(state, "the association was being released")


def describe_unexpected(state: State, kind: PduType, first_byte: int) -> str:
    """Say in words which PDU came when it should not; `first_byte` is its type as it came."""
    if kind is not PduType.UNRECOGNIZED:
        return f"{_NAMES[kind]} came when {describe_state(state)}"
    if state is State.AWAITING_ANSWER:
        if first_byte == _TLS_ALERT:
            return "the peer answered in TLS; it must be called with TLS"
        return "the peer did not answer in DICOM; is the port right?"
    if state is State.AWAITING_REQUEST:
        if first_byte == _TLS_HANDSHAKE:
            return "the caller speaks TLS, which this port does not"
        return f"the caller does not speak DICOM; its first byte is 0x{first_byte:02X}"
    return f"a PDU of the unknown type 0x{first_byte:02X} came when {describe_state(state)}"


def action_for(state: State, kind: PduType) -> Action:
    """Return what a PDU of `kind` causes in `state`."""
    return _TABLE.get((state, kind)) or _OTHERWISE.get(state, Action.ABORT_AS_PROVIDER)
