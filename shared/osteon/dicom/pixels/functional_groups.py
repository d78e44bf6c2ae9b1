"""Attributes of one frame of an enhanced image: its own functional group, else the shared one (PS3.3 C.7.6.16)."""

from collections.abc import Iterator
from typing import Final

from osteon.dicom.pixels.attributes import Attributes, readable

PIXEL_MEASURES: Final = 0x00289110
FRAME_VOI_LUT: Final = 0x00289132
PIXEL_VALUE_TRANSFORMATION: Final = 0x00289145
_SHARED: Final = 0x52009229
_PER_FRAME: Final = 0x52009230


def of_frame(attributes: Attributes, macro: int, number: int) -> Attributes:
    """Return what holds a macro's attributes for frame `number`, counted from 1: an item, or the data set itself."""
    per_frame, shared = attributes.items(_PER_FRAME), attributes.items(_SHARED)
    for groups in (per_frame[number - 1 : number], shared[:1]):
        for group in groups:
            if items := group.items(macro):
                return items[0]
    return attributes


def holders(attributes: Attributes, macro: int, number: int) -> Iterator[Attributes]:
    """Iterate over all that may hold a macro's attributes for frame `number`, what counts most first.

    Functional groups that are missing or damaged are passed over.
    """
    for sequence, place in ((_PER_FRAME, number - 1), (_SHARED, 0)):
        for group in (readable(attributes.items, sequence) or ())[place : place + 1]:
            yield from (readable(group.items, macro) or ())[:1]
    yield attributes
