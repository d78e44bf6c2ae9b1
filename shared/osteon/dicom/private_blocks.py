"""Blocks of private elements and their creators (PS3.5 7.8.1): `GGGGBB` → private creator, element (GGGG,00BB)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

_ODD: Final = frozenset("13579BDF")
_FIRST: Final = 0x10
_LAST: Final = 0xFF


def is_private(tag: str) -> bool:
    """Whether a tag in eight hexadecimal digits is of an odd group."""
    return tag[3] in _ODD


def is_creator(tag: str) -> bool:
    """Whether a tag is that of a private creator element."""
    return is_private(tag) and tag[4:6] == "00" and tag[6] != "0"


def creators_of(elements: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the blocks that private creators of a data set (DICOM JSON) reserve; those without text are left out."""
    found = {}
    for tag, element in elements.items():
        if is_creator(tag):
            value = (element.get("Value") or [""])[0]
            if value and isinstance(value, str):
                found[tag[:4] + tag[6:]] = value
    return found


def locate(tags: Iterable[str], requested: Mapping[str, str], actual: Mapping[str, str]) -> list[str]:
    """Return the tags that private elements have in a data set, and those of their creators.

    `requested` and `actual` are blocks as `creators_of` returns them: what the request means by them, and those of the
    data set. Where the request does not say whose a block is, its number counts.
    """
    found: dict[str, None] = {}
    for tag in tags:
        creator = requested.get(tag[:6])
        for block in [tag[:6]] if creator is None else [b for b in actual if b[:4] == tag[:4] and actual[b] == creator]:
            found[block + tag[6:]] = found[f"{block[:4]}00{block[4:]}"] = None
    return list(found)


class Blocks:
    """Blocks of a data set whose elements name their creator, in whole or in part without a block."""

    def __init__(self) -> None:
        self._creators: dict[str, str] = {}
        self._placed: dict[tuple[str, str], str] = {}

    def reserve(self, tag: str, creator: str) -> None:
        """Note that a document gives the block of `tag`, GGGGBBEE, to a creator; the first one keeps it."""
        if tag[4:6] >= f"{_FIRST:02X}":
            self._creators.setdefault(tag[:6], creator)
            self._placed.setdefault((tag[:4], creator), tag[:6])

    def place(self, tag: str, creator: str) -> str | None:
        """Return the tag with its block for GGGG00EE, after all calls of `reserve`; None when no block is left."""
        if tag[4:6] != "00":
            return tag
        key = tag[:4], creator
        if key not in self._placed:
            free = (block for n in range(_FIRST, _LAST + 1) if (block := f"{tag[:4]}{n:02X}") not in self._creators)
            block = next(free, "")
            if not block:
                return None
            self._placed[key] = block
            self._creators[block] = creator
        return self._placed[key] + tag[6:]

    def creators(self) -> dict[str, dict[str, Any]]:
        """Return the private creator elements, as DICOM JSON."""
        return {f"{block[:4]}00{block[4:]}": {"vr": "LO", "Value": [name]} for block, name in self._creators.items()}
