"""The roots of every error tree in Osteon.

Each room derives its own errors from one of these. What a peer is answered (a DIMSE status, an HTTP problem, a retry
of a message) is decided by the root alone, or by the kind of failure when the error comes from another process.
"""

from enum import StrEnum


class FailureKind(StrEnum):
    """What another process needs to know of an error: it travels on the bus instead of the error's type."""

    FAILED = "failed"
    """Nothing that the requester could do better."""
    UNAVAILABLE = "unavailable"
    """A part is down: the same request may succeed later."""
    TIMEOUT = "timeout"
    INVALID = "invalid"
    """The request contradicts itself or its context."""
    UNREADABLE = "unreadable"
    """The data in the request cannot be decoded."""
    NOT_FOUND = "not found"
    UNSUPPORTED = "unsupported"
    """It is a valid request, but for something that is not done."""
    REFUSED = "refused"
    """The requester has no right to it."""


class OsteonError(Exception):
    """Root of all errors that Osteon raises on purpose."""

    kind: FailureKind = FailureKind.FAILED


class Unavailable(OsteonError):
    """A part that Osteon needs (broker, object store, database) does not answer now; a later call may succeed."""

    kind = FailureKind.UNAVAILABLE


class DatabaseUnavailable(Unavailable):
    """The database does not answer, which says nothing about any other part or peer."""


class Invalid(OsteonError):
    """What was given can never succeed: the same call will fail again."""

    kind = FailureKind.INVALID


class NotFound(OsteonError):
    """What was requested is not in the archive."""

    kind = FailureKind.NOT_FOUND
