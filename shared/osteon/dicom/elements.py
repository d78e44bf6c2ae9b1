"""Splitting a data set into elements (PS3.5 section 7): heads, and skipping values of undefined length."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from osteon.dicom.encoding import (
    ENDS_WITHIN_HEAD,
    EXPLICIT,
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    VRS,
    Buffer,
    Encoding,
    actual_encoding,
    unknown_vr_head,
)
from osteon.dicom.errors import BadDataSet, TruncatedDataSet

MAX_SKIPPED_ELEMENTS: Final = 1 << 21
"""Items and elements that are skipped one by one in a value of undefined length: about two seconds' worth."""

_PROOF: Final = 3
"""Elements in ascending order, or fewer up to the end, that show that a data set goes on."""

_MOST_PROOF: Final = 1 << 12
"""The same where a delimiter is all that shows it: nested sequences have delimiters, too."""

_SEARCHED: Final = 1 << 20
"""Bytes of a damaged sequence in which its delimiter is looked for."""


def element_head(
    data: Buffer, position: int, encoding: Encoding, stop: int | None = None
) -> tuple[int, bytes, int, int]:
    """Read the head of the element at `position`: tag, VR, where its value begins, its length.

    The VR is empty in implicit VR, and where an element of an explicit VR data set has none; one that is none of
    PS3.5's is UN, see `unknown_vr_head`. `stop` is where the data set or item ends that the element is in: the end of
    `data` when it is None, and beyond that when more is to come.

    Raises `TruncatedDataSet` when the data ends before the value, `BadDataSet` when an unknown VR leaves it open where
    the value ends.
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
    if vr not in LONG_VRS:
        return tag, *unknown_vr_head(data, position, encoding, size if stop is None else stop)
    if position + 12 > size:
        raise TruncatedDataSet(ENDS_WITHIN_HEAD, f"{tag:08X}", position)
    (length,) = encoding.long.unpack_from(data, position + 8)
    return tag, vr, position + 12, length


def nested_encoding(vr: bytes, encoding: Encoding) -> Encoding:
    """Return the encoding of a sequence's items; `item_encoding` may find another one for each item.

    UN hides implicit VR little endian (PS3.5 6.2.2 note 2), but some writers leave explicit VR in it.
    """
    return EXPLICIT if vr == b"UN" else encoding


def item_encoding(data: Buffer, position: int, encoding: Encoding, stop: int | None = None) -> Encoding:
    """Return the encoding of the item whose elements are from `position` to `stop`; some switch to implicit VR."""
    if not encoding.explicit or bytes(data[position : position + 2]) == b"\xfe\xff":
        return encoding
    return actual_encoding(data, position, encoding, stop)


def skip_undefined(
    data: Buffer, position: int, encoding: Encoding, limit: int = MAX_SKIPPED_ELEMENTS, stop: int | None = None
) -> int:
    """Return the position behind a value of undefined length: items and what they hold, or fragments.

    Nesting costs a list entry, never a Python frame. Items and sequences may lack their delimiters where what follows
    shows that they have ended. `stop` is as of `element_head`. Raises `BadDataSet` where something else than an item
    stands or when there are `limit` items and elements in them, and `TruncatedDataSet` when the data ends before the
    value does.
    """
    open_levels = [encoding]  # sequence, item, sequence, item, …
    steps = limit
    while open_levels:
        steps -= 1
        if not steps:
            raise BadDataSet(f"more than {limit} elements in a value of undefined length", "", position)
        encoding = open_levels[-1]
        tag, vr, start, length = element_head(data, position, encoding, stop)
        between_items = len(open_levels) % 2 == 1
        if tag == ITEM_END and len(open_levels) > 1 if between_items else tag in (ITEM, SEQUENCE_END):
            open_levels.pop()
            continue
        if between_items and tag not in (ITEM, SEQUENCE_END):
            raise BadDataSet("expected an item or the sequence's end", f"{tag:08X}", position)
        if tag == (SEQUENCE_END if between_items else ITEM_END):
            open_levels.pop()
        elif length == UNDEFINED:
            open_levels.append(
                item_encoding(data, start, encoding, stop) if between_items else nested_encoding(vr, encoding)
            )
        else:
            start += length
        position = start
    return position


def find_next_element(data: Buffer, position: int, encoding: Encoding, stop: int, fault: BadDataSet) -> int | None:
    """Return where a data set that ends at `stop` goes on behind the damaged element at `position`.

    None where that is not plain to see, and in implicit VR. Either its length has the other form, or a sequence ends
    where its items or, unless `fault` is that the data ends within it, a delimiter say, a value of a short VR within
    64 KiB. `_PROOF` elements in ascending order must follow, behind a delimiter up to the end.
    """
    if not encoding.explicit or position + 12 > stop:
        return None
    group, element, vr, short = encoding.head.unpack_from(data, position)
    (long,) = encoding.long.unpack_from(data, position + 8)
    tag = group << 16 | element
    ends: Iterable[int]
    if group == 0xFFFE:
        tag, ends = 0, _end_of_items(data, position, encoding, stop)
    elif vr == b"SQ":
        ends = chain([position + 12 + long], _end_of_items(data, position + 12, encoding, stop))
    elif vr in LONG_VRS:
        ends = (position + 12 + long, position + 8 + short)
    elif vr in SHORT_VRS:
        ends = chain([position + 12 + long], range(position + 8, min(stop, position + 8 + 0xFFFF)))
    else:
        return None
    for end in ends:
        if position < end < stop and _goes_on(data, end, tag, encoding, stop, proof=_PROOF):
            return end
    if vr == b"SQ" and not isinstance(fault, TruncatedDataSet):
        for end in _delimiters(data, position + 12, encoding, stop):
            if _goes_on(data, end, tag, encoding, stop, proof=_MOST_PROOF):
                return end
    return None


def _end_of_items(data: Buffer, position: int, encoding: Encoding, stop: int) -> Iterator[int]:
    """Yield where the items that begin at `position` end, if their lengths say so."""
    try:
        while position < stop:
            tag, _, start, length = element_head(data, position, encoding, stop)
            if tag != ITEM:
                yield start if tag == SEQUENCE_END else position
            if tag != ITEM or length == UNDEFINED:
                return
            position = start + length
    except BadDataSet:
        return


def _delimiters(data: Buffer, position: int, encoding: Encoding, stop: int) -> Iterator[int]:
    """Yield where sequence delimiters end."""
    delimiter = encoding.item.pack(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
    window = bytes(data[position : min(stop, position + _SEARCHED)])
    for found in re.finditer(re.escape(delimiter), window):
        yield position + found.end()


def _goes_on(data: Buffer, position: int, tag: int, encoding: Encoding, stop: int, *, proof: int) -> bool:
    """Whether `proof` elements with higher tags than `tag`, in ascending order, are at `position`, or all up to `stop`.

    One at least.
    """
    for _ in range(proof):
        if position + 8 > stop or encoding.head.unpack_from(data, position)[2] not in VRS:
            return False
        try:
            following, vr, start, length = element_head(data, position, encoding, stop)
            if following <= tag or following >> 16 == 0xFFFE:
                return False
            if length == UNDEFINED:
                start, length = skip_undefined(data, start, nested_encoding(vr, encoding), stop=stop), 0
        except BadDataSet:
            return False
        tag, position = following, start + length
        if position == stop:
            return True
    return position < stop
