"""Observers of how associations begin and end: metrics, an audit log."""

from enum import Enum, StrEnum

from osteon.dimse.handler import AssociationInfo


class AssociationEnd(Enum):
    """How an association, or a connection that never had one, ended."""

    RELEASED = "released"
    ABORTED_BY_PEER = "aborted_by_peer"
    LOST = "lost"
    """The connection closed without release or abort."""
    TIMED_OUT = "timed_out"
    PROTOCOL_ERROR = "protocol_error"
    """The peer broke PS3.7 or PS3.8 and was aborted."""
    SHUT_DOWN = "shut_down"
    """Aborted because the acceptor closed."""
    FAILED = "failed"
    """Aborted because of an error of our own."""
    REJECTED = "rejected"
    """There never was one."""
    CROWDED_OUT = "crowded_out"
    """There never was one, and too many connections waited."""
    INSECURE = "insecure"
    """There never was one, because the peer did not do TLS as it must."""


class RejectReason(Enum):
    """Why an association was not accepted: result, source and reason of A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    NO_REASON = (1, 1, 1)
    APPLICATION_CONTEXT_NOT_SUPPORTED = (1, 1, 2)
    CALLING_AET_NOT_RECOGNIZED = (1, 1, 3)
    CALLED_AET_NOT_RECOGNIZED = (1, 1, 7)
    PROTOCOL_VERSION_NOT_SUPPORTED = (1, 2, 2)
    TEMPORARY_CONGESTION = (2, 3, 1)
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


class AssociationLimit(StrEnum):
    """Which limit an association would have exceeded; all are `RejectReason.LOCAL_LIMIT_EXCEEDED` to the peer."""

    TOTAL = "total"
    HOST = "host"
    AET = "aet"


class AssociationRefused(Exception):
    """Raised by a handler factory to reject an association."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(reason.name)
        self.reason = reason


class AcceptorObserver:
    """Called for each association; does nothing unless a method is overridden. On the event loop: do not block."""

    def accepted(self, info: AssociationInfo) -> None:
        """An association has been accepted."""

    def rejected(self, info: AssociationInfo, reason: RejectReason) -> None:
        """An association has been rejected."""

    def limited(self, info: AssociationInfo, limit: AssociationLimit) -> None:
        """An association is about to be rejected because there are too many."""

    def ended(self, info: AssociationInfo, how: AssociationEnd) -> None:
        """An accepted association has ended; its handler is being closed."""

    def unused(self, how: AssociationEnd) -> None:
        """A connection has ended on which there never was an association."""
