"""Value representations that a data set does not state (PS3.5 section 6.2, PS3.6): implicit VR, UN, ambiguous tags."""

from typing import Final

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from osteon.byte_caches import cached

BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

LUT_DATA: Final = 0x00283006
"""US when its descriptor counts one entry, else OW (PS3.3 C.11.1.1.1)."""

LUT_DESCRIPTORS: Final = frozenset((0x00281101, 0x00281102, 0x00281103, 0x00283002))
"""The first of their three values counts entries and is never negative, whatever the VR says (PS3.3 C.7.6.3.1.5)."""

_LONGEST_CREATOR: Final = 64
"""Characters of a Private Creator, which is LO (PS3.5 6.2)."""


@cached("standard_vr", entries=8192, entry_bytes=200)
def standard_vr(tag: int) -> str:
    """Return the VR of PS3.6 for a tag, `US or SS` and the like where it allows several; empty when it has none."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a private tag whose block belongs to `creator`, UN when that is not known (PS3.5 7.8)."""
    if 0x0010 <= tag & 0xFFFF <= 0x00FF:
        return "LO"
    return _private_vr(tag, creator) if 0 < len(creator) <= _LONGEST_CREATOR else "UN"


@cached("private_vr", entries=4096, entry_bytes=500)
def _private_vr(tag: int, creator: str) -> str:
    try:
        return str(private_dictionary_VR(tag, creator))
    except KeyError:
        return "UN"


def unambiguous_vr(tag: int, vr: str, *, signed: bool, lut_entries: int) -> str:
    """Choose among the VRs that PS3.6 allows for an element that does not state its own (PS3.5 annex A.1).

    `signed` is what Pixel Representation says, `lut_entries` the first value of the LUT Descriptor beside the element.
    """
    if vr == "US or SS":
        return "SS" if signed else "US"
    if tag == LUT_DATA and lut_entries == 1:
        return "US"
    return "OW"
