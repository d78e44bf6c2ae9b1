"""What can go wrong for the side that requests an association or an operation."""

from osteon.errors import Invalid, Unavailable

_RESULTS = {1: "permanently", 2: "transiently"}
_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""By source and reason (PS3.8 Table 9-21)."""


class RequestorError(Unavailable):
    """A remote application entity did not do what was requested; a later attempt may succeed."""


class ConnectFailed(RequestorError):
    """There is no connection: refused, unreachable, unknown host, TLS, or too late."""


class AssociationRejected(RequestorError):
    """A-ASSOCIATE-RJ (PS3.8 9.3.4) with its result, source and reason."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        why = _REASONS.get((source, reason), f"source {source}, reason {reason}")
        super().__init__(f"association rejected {_RESULTS.get(result, f'with result {result}')}: {why}")
        self.result, self.source, self.reason = result, source, reason

    @property
    def permanent(self) -> bool:
        """The peer says that the same request will be rejected again."""
        return self.result == 1


class AssociationAborted(RequestorError):
    """The association has ended before its time: A-ABORT of either side, or a connection that was lost."""


class NoAnswer(RequestorError):
    """The peer did not answer, or did not read, in time; the association was aborted."""


class NotAccepted(Invalid):
    """The peer has accepted no presentation context, or not in the role, that an operation needs."""
