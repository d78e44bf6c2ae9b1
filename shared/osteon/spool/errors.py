"""What can go wrong in the spool. `sink.outcome_of` alone turns these into DIMSE statuses."""

from osteon.errors import Invalid, Unavailable


class BadPath(Invalid):
    """A path points out of the spool, or to nothing that can be a sealed pack."""


class SpoolFull(Unavailable):
    """The high-water mark, the quota or the disk itself leaves no room for another instance."""


class SpoolFailed(Unavailable):
    """The disk failed to keep an instance: it was not stored."""


class NotIndexed(Unavailable):
    """The instance is on disk, but the archive did not index it in time."""
