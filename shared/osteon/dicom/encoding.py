"""How elements are encoded (PS3.5 section 7.1): VR classes, byte orders, tags with a meaning of their own.

The one place that decides how an element is read whose value representation is not one of PS3.5's.
"""

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.uids import TransferSyntax

Buffer = bytes | memoryview | mmap
"""What data sets are read from."""

LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Explicit VRs with a 32-bit length behind two reserved bytes (PS3.5 table 7.1-1)."""

SHORT_VRS: Final = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Explicit VRs with a 16-bit length (PS3.5 table 7.1-2)."""

VRS: Final = SHORT_VRS | LONG_VRS

UNDEFINED: Final = 0xFFFFFFFF
MORE_TO_COME: Final = 1 << 62
"""Where a data set ends of which only a beginning is there."""
ENDS_WITHIN_HEAD: Final = "the data set ends within the element's tag and length"
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


def actual_encoding(data: Buffer, position: int, declared: Encoding, stop: int | None = None) -> Encoding:
    """Return the encoding of the data set or item from `position` to `stop`, which some senders declare wrongly.

    The bytes where a VR stands are capital letters in explicit VR; in implicit VR they are the low half of a length,
    which would have to be 16705 or more to look so, and first elements are never that long. Where they are anything
    else the first element decides, as far as a next one shows how it is encoded. Raises `TruncatedDataSet` when that is
    not there yet.
    """
    vr = bytes(data[position + 4 : position + 6])
    if position + 8 > len(data) or looks_explicit(vr) == declared.explicit:
        return declared
    if not declared.explicit:
        return EXPLICIT
    try:
        vr, start, length = unknown_vr_head(data, position, declared, len(data) if stop is None else stop)
    except TruncatedDataSet:
        raise
    except BadDataSet:
        return IMPLICIT
    following = b"" if length == UNDEFINED else bytes(data[start + length + 4 : start + length + 6])
    return declared if vr or following in VRS else IMPLICIT


def unknown_vr_head(data: Buffer, position: int, encoding: Encoding, stop: int) -> tuple[bytes, int, int]:
    """Read an element of explicit VR whose VR is none of PS3.5's: how it is taken, where its value begins, its length.

    It is UN with a length of 16 bits, UN with one of 32 bits behind two zero bytes, or, taken as empty, an element
    without VR: some writers switch within a data set. The form is chosen whose value ends soonest where the data set or
    item ends, or where another element begins. `stop` is that end, beyond the last byte of `data` when more is to come.

    Raises `BadDataSet` when no form leads on, and `TruncatedDataSet` when it cannot be seen yet which one does.
    """
    group, element, vr, short = encoding.head.unpack_from(data, position)
    _, _, implicit = encoding.item.unpack_from(data, position)
    tag = group << 16 | element
    forms = [(b"", position + 8, implicit)] if not looks_explicit(vr) else []
    forms.append((b"UN", position + 8, short))
    if short == 0 and position + 12 <= len(data):
        forms.append((b"UN", position + 12, encoding.long.unpack_from(data, position + 8)[0]))
    elif short == 0 and position + 12 <= stop:
        raise TruncatedDataSet(ENDS_WITHIN_HEAD, f"{tag:08X}", position)
    forms.sort(key=lambda form: form[1] + (0 if form[2] == UNDEFINED else form[2]))
    for certain in (True, False):
        for form in forms:
            if _leads_on(data, form, tag, vr, encoding, stop, certain=certain):
                return form
    raise BadDataSet(f"unknown VR {vr.decode('latin-1')!r}, and no length leads on to an element", f"{tag:08X}", position)


def _leads_on(
    data: Buffer, form: tuple[bytes, int, int], tag: int, vr: bytes, encoding: Encoding, stop: int, *, certain: bool
) -> bool:
    """Whether another element begins behind the value, or items where its length is undefined.

    Without `certain` it may also be one that is out of order.
    """
    taken, start, length = form
    end = start if length == UNDEFINED else start + length
    if end > stop - 8:
        return end <= stop and length != UNDEFINED and not any(bytes(data[end:stop]))
    if end + 8 > len(data):
        raise TruncatedDataSet("the data set ends before an element shows how long its value is", f"{tag:08X}", start)
    group, element, following_vr, _ = encoding.head.unpack_from(data, end)
    following = group << 16 | element
    if length == UNDEFINED:
        return taken in (b"", b"UN") and following in (ITEM, SEQUENCE_END)
    if following in (ITEM, ITEM_END, SEQUENCE_END):
        return True
    if not certain:
        return group > 0 and element > 0 and following_vr in VRS
    if following <= tag:
        return following == tag == 0  # zero bytes behind the last element
    if element == 0:  # a group length, or a length of 32 bits that is taken for a tag
        return bool(following_vr == b"UL")
    if following_vr in VRS or group == tag >> 16:
        return True
    if taken:
        return bool(following_vr == vr)
    return group <= 0x7FE0 and not looks_explicit(following_vr) and encoding.item.unpack_from(data, end)[2] <= 0xFFFF
