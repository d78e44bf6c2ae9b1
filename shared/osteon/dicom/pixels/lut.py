"""Look-up tables of grey values: Modality LUT and VOI LUT (PS3.3 C.11.1, C.11.2)."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osteon.dicom.pixels.attributes import Attributes
from osteon.dicom.pixels.errors import PixelError

_DESCRIPTOR: Final = 0x00283002
_DATA: Final = 0x00283006

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lut:
    """Entries for values from `first` on; those below have the first entry, those above the last.

    Attributes:
        bits: of an entry: the table gives 0 to 2**bits - 1.
    """

    first: int
    entries: NDArray[Any]
    bits: int

    @property
    def top(self) -> int:
        """The greatest value that the table may give."""
        return (1 << self.bits) - 1

    def apply(self, values: Values) -> Values:
        """Return the entry of each value, the nearest where values are not whole numbers."""
        places = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[places.astype(np.intp)].astype(np.float64)
        return found


def read_lut(item: Attributes, *, signed: bool) -> Lut:
    """Return the table in an item; `signed`: its input may be negative.

    Raises `PixelError` when the table is not as its descriptor says.
    """
    numbers = [int(number) for number in item.numbers(_DESCRIPTOR)]
    if len(numbers) != 3:
        raise PixelError(f"LUT Descriptor (0028,3002) has {len(numbers)} values, not 3")
    count, first, bits = numbers[0] & 0xFFFF or 1 << 16, numbers[1], numbers[2]
    if not 8 <= bits <= 16:
        raise PixelError(f"LUT Descriptor (0028,3002) says {bits} bits, not 8 to 16")
    if signed and first >= 1 << 15:
        first -= 1 << 16
    entries = _entries(item.raw(_DATA), count)
    # Some writers count the bits of the entries' meaning, not of their range.
    return Lut(first, entries, max(bits, int(entries.max()).bit_length()))


def _entries(data: bytes, count: int) -> NDArray[Any]:
    """Entries of 8 bits stand in a byte or in a word each."""
    if len(data) >= 2 * count:
        return np.frombuffer(data, "<u2", count)
    if len(data) >= count:
        return np.frombuffer(data, np.uint8, count)
    raise PixelError(f"LUT Data (0028,3006) has {len(data)} bytes for {count} entries")
