"""How elements are encoded (PS3.5 section 7.1): VR classes, byte orders, tags with a meaning of their own."""

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from osteon.dicom.uids import TransferSyntax

Buffer = bytes | memoryview | mmap
"""What data sets are read from."""

LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Explicit VRs with a 32-bit length behind two reserved bytes (PS3.5 table 7.1-1)."""

SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Explicit VRs with a 16-bit length (PS3.5 table 7.1-2)."""

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One of the ways in which elements are encoded; the three instances are compared by identity.

    Attributes:
        explicit: elements carry their VR.
        little_endian: byte order.
        head: group, element, VR, 16-bit length; without VR: group, element, 32-bit length.
        item: group, element, 32-bit length: items, delimiters and elements in implicit VR.
        long: the 32-bit length behind the head of a `LONG_VRS` element.
    """

    explicit: bool
    little_endian: bool
    head: struct.Struct
    item: struct.Struct
    long: struct.Struct


IMPLICIT: Final = Encoding(False, True, struct.Struct("<HHL"), struct.Struct("<HHL"), struct.Struct("<L"))
EXPLICIT: Final = Encoding(True, True, struct.Struct("<HH2sH"), struct.Struct("<HHL"), struct.Struct("<L"))
EXPLICIT_BIG: Final = Encoding(True, False, struct.Struct(">HH2sH"), struct.Struct(">HHL"), struct.Struct(">L"))


def declared_encoding(syntax: TransferSyntax) -> Encoding:
    """Return how a transfer syntax encodes elements."""
    if not syntax.explicit:
        return IMPLICIT
    return EXPLICIT if syntax.little_endian else EXPLICIT_BIG


def looks_explicit(vr: bytes) -> bool:
    """Whether two bytes can be a VR: capital letters."""
    return b"AA" <= vr <= b"ZZ" and 0x41 <= vr[1] <= 0x5A


def actual_encoding(data: Buffer, position: int, declared: Encoding) -> Encoding:
    """Return the encoding of the data set that begins at `position`, which some senders declare wrongly.

    The bytes where a VR stands are capital letters in explicit VR; in implicit VR they are the low half of a length,
    which would have to be 16705 or more to look so, and first elements are never that long.
    """
    vr = bytes(data[position + 4 : position + 6])
    if len(vr) < 2 or looks_explicit(vr) == declared.explicit:
        return declared
    return IMPLICIT if declared.explicit else EXPLICIT
