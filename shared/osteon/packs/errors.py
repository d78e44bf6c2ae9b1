"""What can be wrong with a pack, or with an instance that is to go into one."""

from osteon.errors import Invalid


class BadPack(Invalid):
    """A file is not a pack: a broken TAR header, a truncated member, a missing end."""


class WrongInstance(Invalid):
    """The data set is not the SOP instance that was announced (by a C-STORE command: PS3.4 B.2.3, 0xA900)."""
