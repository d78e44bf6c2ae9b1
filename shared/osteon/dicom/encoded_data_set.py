"""Data sets that are encoded but for their bulk data: bytes, with gaps where other values belong.

They are in Explicit VR Little Endian, sequences and items with undefined length, so nothing around a gap changes when
it is filled.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from osteon.dicom.encoding import UNDEFINED
from osteon.errors import Invalid

ITEM_END: Final = b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0" + bytes(4)
UNDEFINED_LENGTH: Final = struct.pack("<L", UNDEFINED)


class BadMetadata(Invalid):
    """A data set is not in the DICOM JSON Model or the Native DICOM Model; the message names the element."""


@dataclass(frozen=True, slots=True)
class BulkGap:
    """An element whose value is bulk data. `pixels`: it is the data set's own pixel data; `path`: for messages."""

    uri: str
    tag: str
    vr: str
    path: str
    pixels: bool


@dataclass(frozen=True, slots=True)
class AttributeGap:
    """Where an attribute belongs that the data set lacks and that its pixel data may say."""

    tag: str


class FileRange(NamedTuple):
    """Bytes of a file."""

    path: Path
    offset: int
    length: int


Gap = BulkGap | AttributeGap
Segment = bytearray | FileRange | Gap


@dataclass(slots=True)
class EncodedDataSet:
    """A data set in its order. `texts` has the first value of some of its attributes, by tag."""

    segments: Sequence[Segment]
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def bulk(self) -> tuple[BulkGap, ...]:
        """The bulk data that it refers to."""
        return tuple(segment for segment in self.segments if isinstance(segment, BulkGap))

    @property
    def size(self) -> int:
        """Length in bytes without what is in gaps."""
        sizes = (s.length if isinstance(s, FileRange) else len(s) for s in self.segments if not isinstance(s, Gap))
        return sum(sizes)

    def spool(self, file: BinaryIO, path: Path) -> None:
        """Move the bytes in memory to the end of `file`, which is at `path`. Blocks."""
        kept: list[Segment] = []
        for segment in self.segments:
            if isinstance(segment, bytearray):
                kept.append(FileRange(path, file.tell(), len(segment)))
                file.write(segment)
            else:
                kept.append(segment)
        self.segments = kept


def element_head(tag: str, vr: str, length: int | None = None) -> bytes:
    """Return tag and VR, with a 16-bit length, or without the 32-bit length that follows them (PS3.5 7.1.2)."""
    head = struct.pack("<HH", int(tag[:4], 16), int(tag[4:], 16)) + vr.encode()
    return head + (b"\0\0" if length is None else struct.pack("<H", length))
