"""How elements are encoded (PS3.5 section 7.1): VR classes, byte orders, tags with a meaning of their own.

The one place that decides how an element is read whose value representation is not one of PS3.5's.
"""

import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Final, NamedTuple

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
ITEM: Final = 0xFFFEE000
ITEM_BYTES: Final = b"\xfe\xff\x00\xe0"
"""The tag of an item in little endian."""
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
_DELIMITERS: Final = frozenset((ITEM, ITEM_END, SEQUENCE_END))

MORE_TO_COME: Final = 1 << 62
"""Where a data set ends of which only a beginning is there."""

ENDS_WITHIN_HEAD: Final = "the data set ends within the element's tag and length"


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


def unknown_vr_head(data: Buffer, position: int, encoding: Encoding, stop: int) -> "ElementForm":
    """Read an element of explicit VR whose VR is none of PS3.5's: how it is taken, where its value begins, its length.

    It is UN with a length of 16 bits, UN with one of 32 bits behind two zero bytes, or, taken as empty, an element
    without VR: some writers switch within a data set. The form is chosen whose value ends soonest where the data set or
    item ends, or where another element begins. `stop` is that end, beyond the last byte of `data` when more is to come.

    Raises `BadDataSet` when no form leads on, and `TruncatedDataSet` when it cannot be seen yet which one does.
    """
    group, number, vr, short = encoding.head.unpack_from(data, position)
    element = _UnknownElement(data, group << 16 | number, vr, encoding, stop)
    forms = [ElementForm(b"UN", position + 8, short)]
    if not looks_explicit(vr):
        forms.insert(0, ElementForm(b"", position + 8, encoding.item.unpack_from(data, position)[2]))
    if short == 0 and position + 12 <= stop:
        if position + 12 > len(data):
            raise TruncatedDataSet(ENDS_WITHIN_HEAD, element.name, position)
        forms.append(ElementForm(b"UN", position + 12, encoding.long.unpack_from(data, position + 8)[0]))
    forms.sort(key=lambda form: form.end)
    for follows in (element.is_followed, element.is_followed_loosely):
        for form in forms:
            if element.ends(form) or follows(form):
                return form
    raise BadDataSet(f"unknown VR {vr.decode('latin-1')!r}, and no length leads on", element.name, position)


class ElementForm(NamedTuple):
    """How an element is read: its VR, where its value begins, how long that is."""

    vr: bytes
    start: int
    length: int

    @property
    def end(self) -> int:
        """Where another element begins, or the first item of a value of undefined length."""
        return self.start if self.length == UNDEFINED else self.start + self.length


@dataclass(frozen=True, slots=True)
class _UnknownElement:
    """An element with an unknown VR, in the data set or item that ends at `stop`."""

    data: Buffer
    tag: int
    vr: bytes
    encoding: Encoding
    stop: int

    @property
    def name(self) -> str:
        return f"{self.tag:08X}"

    def ends(self, form: ElementForm) -> bool:
        """Whether nothing follows the value but padding."""
        at_end = self.stop - 8 < form.end <= self.stop and form.length != UNDEFINED
        return at_end and not any(bytes(self.data[form.end : self.stop]))

    def is_followed(self, form: ElementForm) -> bool:
        """Whether an element comes behind the value, in order, or items where the length is undefined."""
        if form.end > self.stop - 8:
            return False
        tag, vr = self._following(form)
        if form.length == UNDEFINED or tag in _DELIMITERS:
            return tag in (ITEM, SEQUENCE_END) if form.length == UNDEFINED else True
        if tag & 0xFFFF == 0:  # a group length, or a length of 32 bits that is taken for a tag
            return (vr == b"UL" and tag > self.tag) or tag == self.tag == 0
        return tag > self.tag and (vr in VRS or tag >> 16 == self.tag >> 16 or self._is_written_alike(form, tag, vr))

    def is_followed_loosely(self, form: ElementForm) -> bool:
        """Whether an element that states its VR comes behind the value, in whatever order."""
        if form.end > self.stop - 8 or form.length == UNDEFINED:
            return False
        tag, vr = self._following(form)
        return tag > 0xFFFF and tag & 0xFFFF > 0 and vr in VRS

    def _following(self, form: ElementForm) -> tuple[int, bytes]:
        if form.end + 8 > len(self.data):
            reason = "the data set ends before an element shows how long its value is"
            raise TruncatedDataSet(reason, self.name, form.start)
        group, number, vr, _ = self.encoding.head.unpack_from(self.data, form.end)
        return group << 16 | number, vr

    def _is_written_alike(self, form: ElementForm, tag: int, vr: bytes) -> bool:
        """Whether what follows has the same unknown VR, or none either and a length of less than 64 KiB."""
        if form.vr:
            return vr == self.vr
        length = self.encoding.item.unpack_from(self.data, form.end)[2]
        return tag >> 16 <= 0x7FE0 and not looks_explicit(vr) and length <= 0xFFFF
