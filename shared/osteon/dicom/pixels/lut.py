"""Look-up tables: Modality LUT and VOI LUT (PS3.3 C.11.1, C.11.2), and what those of palettes have in common."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.errors import PixelError

_DESCRIPTOR: Final = 0x00283002
_DATA: Final = 0x00283006
_MOST: Final = 1 << 16
"""Entries of a table."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lut:
    """Entries for values from `first` on; those below have the first entry, those above the last."""

    first: int
    entries: NDArray[Any]

    @property
    def top(self) -> int:
        """The greatest value of the bits that the entries have; what the descriptor says of them is often wrong."""
        return (1 << int(self.entries.max()).bit_length()) - 1

    def apply(self, values: Values) -> Values:
        """Return the entry of each value, the nearest where values are not whole numbers."""
        found: Values = self.entries[self._places(values)].astype(np.float64)
        return found

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Return the least and the greatest entry for values from `low` to `high`."""
        begin, end = self._places(np.array((low, high), np.float64))
        part = self.entries[begin : end + 1]
        return float(part.min()), float(part.max())

    def _places(self, values: Values) -> NDArray[np.intp]:
        places: NDArray[np.intp] = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return places


def read_lut(item: Attributes, low: float, high: float) -> Lut:
    """Return the table in an item, which takes values from `low` to `high`.

    Raises `PixelError` when it is not as its descriptor says, or gives the same for all values.
    """
    count, first, bits = read_descriptor(item, _DESCRIPTOR, low, high)
    entries = read_entries(item, _DATA, count, bits)
    if entries.min() == entries.max():
        raise PixelError("LUT Data (0028,3006) has the same entry for all values")
    return Lut(first, entries)


def read_descriptor(item: Attributes, tag: int, low: float, high: float) -> tuple[int, int, int]:
    """Return how many entries a table has, the first value that it is for, and the bits that an entry is said to have.

    The first value is of 16 bits, signed or not as it can be one from `low` to `high`. Raises `PixelError`.
    """
    numbers = item.numbers(tag)
    if len(numbers) != 3 or not all(map(isfinite, numbers)):
        raise PixelError(f"{_name(tag)} has {len(numbers)} values, not 3 whole numbers")
    count, first, bits = (int(number) & 0xFFFF for number in numbers)
    below = first - (1 << 16)
    negative = first >= 1 << 15 and (first > high or below >= low)
    return count or _MOST, below if negative else first, bits


def read_entries(item: Attributes, tag: int, count: int, bits: int) -> NDArray[Any]:
    """Return the entries of a table, each in a byte or in a word: as the length of all says, not the `bits`.

    These decide where `count` is the most there can be, which is written as 0, also by who means all that there are.
    Raises `PixelError` when there is no such table.
    """
    data = item.raw(tag)
    if count == _MOST > len(data) >= 2:
        return np.frombuffer(data, np.uint8) if bits <= 8 else np.frombuffer(data[: len(data) // 2 * 2], "<u2")
    if len(data) >= 2 * count:
        return np.frombuffer(data, "<u2", count)
    if len(data) in (count, count + count % 2):
        return np.frombuffer(data, np.uint8, count)
    raise PixelError(f"{_name(tag)} has {len(data)} bytes for {count} entries")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
