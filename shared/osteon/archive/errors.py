"""What can go wrong when the index is read or written."""

from osteon.errors import Invalid, NotFound, Unavailable


class IndexUnavailable(Unavailable):
    """The database does not answer, or a transaction has to be repeated."""


class ResourceNotFound(NotFound):
    """No patient, study, series or instance has this identifier."""


class BadCursor(Invalid):
    """The cursor is not one that this index gave out."""
