"""Attributes of one frame of an enhanced image: its own functional group, else the shared one (PS3.3 C.7.6.16)."""

from typing import Final

from osteon.dicom.pixels.attributes import Attributes

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
