"""What can go wrong with packs and the spool. `intake` alone turns these into DIMSE statuses."""

from osteon.errors import Invalid, Unavailable


class BadPack(Invalid):
    """A file is no pack: a broken TAR header, a member cut short, a missing end."""


class BadPath(Invalid):
    """A path points out of the spool, or to nothing that can be a sealed pack."""


class WrongInstance(Invalid):
    """The data set is not the SOP instance that the C-STORE command announced (PS3.4 B.2.3, 0xA900)."""


class SpoolFull(Unavailable):
    """The high-water mark, the quota or the disk itself leaves no room for another instance."""


class SpoolFailed(Unavailable):
    """The disk refused to keep an instance: it was not stored."""


class NotIndexed(Unavailable):
    """The instance is on disk, but the archive did not index it in time."""
