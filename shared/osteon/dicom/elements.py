"""Splitting a data set into elements (PS3.5 section 7): heads, and skipping values of undefined length."""

from typing import Final

from osteon.dicom.encoding import (
    EXPLICIT,
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    Encoding,
    actual_encoding,
    looks_explicit,
)
from osteon.dicom.errors import BadDataSet, TruncatedDataSet

ENDS_WITHIN_HEAD: Final = "the data set ends within the element's tag and length"

MAX_SKIPPED_ELEMENTS: Final = 1 << 21
"""Items and elements that are skipped one by one in a value of undefined length: about two seconds' worth."""


def element_head(data: Buffer, position: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """Read the head of the element at `position`: tag, VR, where its value begins, its length.

    The VR is empty in implicit VR, and where an element of an explicit VR data set has none: some writers switch within
    sequences. Raises `TruncatedDataSet` when the data ends before the value.
    """
    size = len(data)
    if position + 8 > size:
        raise TruncatedDataSet(ENDS_WITHIN_HEAD, "", position)
    group, element, length = encoding.item.unpack_from(data, position)
    tag = group << 16 | element
    if not encoding.explicit or group == 0xFFFE:
        return tag, b"", position + 8, length
    _, _, vr, length16 = encoding.head.unpack_from(data, position)
    if vr in SHORT_VRS:
        return tag, vr, position + 8, length16
    if not looks_explicit(vr):
        return tag, b"", position + 8, length
    # A VR of a later edition has the long form (PS3.5 7.1.2); a writer's own invention mostly has the short one.
    if vr not in LONG_VRS and length16:
        return tag, vr, position + 8, length16
    if position + 12 > size:
        raise TruncatedDataSet(ENDS_WITHIN_HEAD, f"{tag:08X}", position)
    (length,) = encoding.long.unpack_from(data, position + 8)
    return tag, vr, position + 12, length


def nested_encoding(vr: bytes, encoding: Encoding) -> Encoding:
    """Return the encoding of a sequence's items; `item_encoding` may find another one for each item.

    UN hides implicit VR little endian (PS3.5 6.2.2 note 2), but some writers leave explicit VR in it.
    """
    return EXPLICIT if vr == b"UN" else encoding


def item_encoding(data: Buffer, position: int, encoding: Encoding) -> Encoding:
    """Return the encoding of the item whose elements begin at `position`; some writers switch to implicit VR."""
    return actual_encoding(data, position, encoding) if encoding.explicit else encoding


def skip_undefined(data: Buffer, position: int, encoding: Encoding, limit: int = MAX_SKIPPED_ELEMENTS) -> int:
    """Return the position behind a value of undefined length: items and what they hold, or fragments.

    Nesting costs a list entry, never a Python frame. Raises `BadDataSet` where something else than an item stands or
    when there are `limit` items and elements in them, and `TruncatedDataSet` when the data ends before the value does.
    """
    open_levels = [encoding]  # sequence, item, sequence, item, …
    steps = limit
    while open_levels:
        steps -= 1
        if not steps:
            raise BadDataSet(f"more than {limit} elements in a value of undefined length", "", position)
        encoding = open_levels[-1]
        tag, vr, start, length = element_head(data, position, encoding)
        between_items = len(open_levels) % 2 == 1
        if between_items and tag not in (ITEM, SEQUENCE_END):
            raise BadDataSet("expected an item or the sequence's end", f"{tag:08X}", position)
        if tag == (SEQUENCE_END if between_items else ITEM_END):
            open_levels.pop()
        elif length == UNDEFINED:
            open_levels.append(item_encoding(data, start, encoding) if between_items else nested_encoding(vr, encoding))
        else:
            start += length
        position = start
    return position
