"""The roots of every error tree in Osteon.

Each room derives its own errors from one of these; who answers a peer (a DIMSE status, an HTTP problem, a retry
of a message) decides by the root alone.
"""


class OsteonError(Exception):
    """Root of all errors that Osteon raises on purpose."""


class Unavailable(OsteonError):
    """A part that Osteon needs (broker, object store, database) does not answer now; a later call may succeed."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer, which says nothing about any other part or peer."""


class Invalid(OsteonError):
    """What was given can never succeed: the same call will fail again."""


class NotFound(OsteonError):
    """What was asked for is not in the archive."""
