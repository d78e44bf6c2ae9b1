"""What can be wrong with a question to the index."""

from osteon.errors import FailureKind, Invalid, NotFound


class ResourceNotFound(NotFound):
    """No patient, study, series or instance has this identifier."""


class BadCursor(Invalid):
    """The cursor is not one that this index gave out."""

    kind = FailureKind.UNREADABLE
