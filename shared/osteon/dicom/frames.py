"""Encapsulated pixel data: its fragments, and which of them make up which frame (PS3.5 A.4)."""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from osteon.dicom.elements import element_head
from osteon.dicom.encoding import ITEM, SEQUENCE_END, UNDEFINED, Buffer, Encoding
from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.uids import RLE_LOSSLESS, TransferSyntax

Frames = tuple[tuple[int, int], ...]
"""(offset, length) of each frame's run of fragment items, in bytes."""

_STREAM_BEGINS: Final = (b"\xff\xd8", b"\xff\x4f", b"\xff\x0a", b"\x00\x00\x00\x0c")
"""First bytes of a JPEG, JPEG 2000 or JPEG XL bit stream, and of one in a box."""

_MOST_FRAGMENTS: Final = 1 << 19
"""A gigapixel slide has some hundred thousand."""


@dataclass(slots=True)
class Fragments:
    """The items of an encapsulated value.

    Attributes:
        starts: offset of each fragment's item head, the Basic Offset Table's left out.
        offset_table: entries of the Basic Offset Table, relative to the first fragment's item head.
        end: offset behind the last fragment, where the sequence delimiter stands.
        following: offset of what follows the value, delimiter included.
        problem: empty when nothing was wrong.
    """

    starts: "array[int]" = field(default_factory=lambda: array("Q"))
    offset_table: tuple[int, ...] = ()
    end: int = 0
    following: int = 0
    problem: str = ""

    def run(self, first: int, behind: int) -> tuple[int, int]:
        """Return (offset, length) of the fragments from `first` up to and without `behind`."""
        end = self.starts[behind] if behind < len(self.starts) else self.end
        return self.starts[first], end - self.starts[first]


def read_fragments(data: Buffer, position: int, tag: int, encoding: Encoding) -> Fragments:
    """Walk the items of the value of undefined length that begins at `position`.

    Raises `TruncatedDataSet` when a fragment is longer than the data, `BadDataSet` when something else than a fragment
    comes or absurdly many do; that the delimiter is missing behind complete fragments is only a problem.
    """
    found = Fragments()
    size = len(data)
    first = True
    while True:
        if position == size and not first:
            found.end = found.following = position
            found.problem = "the sequence delimiter behind the fragments is missing"
            return found
        item, _, start, length = element_head(data, position, encoding)
        if item == SEQUENCE_END:
            found.end, found.following = position, start
            return found
        if item != ITEM or length == UNDEFINED:
            raise BadDataSet("expected a fragment or the delimiter behind the fragments", f"{tag:08X}", position)
        if start + length > size:
            raise TruncatedDataSet(f"a fragment of {length} bytes is longer than the data set", f"{tag:08X}", position)
        if first:
            found.offset_table = _offsets(data, start, length)
        elif len(found.starts) < _MOST_FRAGMENTS:
            found.starts.append(position)
        else:
            raise BadDataSet(f"more than {_MOST_FRAGMENTS} fragments", f"{tag:08X}", position)
        first = False
        position = start + length


def _offsets(data: Buffer, start: int, length: int) -> tuple[int, ...]:
    count = min(length // 4, _MOST_FRAGMENTS)
    return struct.unpack_from(f"<{count}L", data, start)


def extended_offset_table(data: Buffer, start: int, length: int) -> tuple[int, ...]:
    """Read the value of the Extended Offset Table: entries relative to the first fragment's item head."""
    return struct.unpack_from(f"<{min(length // 8, _MOST_FRAGMENTS)}Q", data, start)


def frame_runs(
    data: Buffer, fragments: Fragments, number_of_frames: int, syntax: TransferSyntax, extended: Sequence[int] = ()
) -> tuple[Frames, str]:
    """Assign fragments to frames; empty, with the reason, when that cannot be done without decoding them.

    `extended` is the Extended Offset Table (7FE0,0001). It and the Basic Offset Table are believed when they agree with
    the fragments; else the standard's other rules decide: a fragment a frame, one frame of all fragments, or a new
    frame wherever a bit stream begins.
    """
    count = len(fragments.starts)
    if not count:
        return (), "no fragments"
    if syntax.video:
        return (fragments.run(0, count),), ""
    for table in (extended, fragments.offset_table):
        if len(table) == number_of_frames and (firsts := _firsts(fragments, table)):
            return _runs(fragments, firsts), ""
    problem = "an offset table that does not agree with the fragments" if extended or fragments.offset_table else ""
    if firsts := _firsts_without_table(data, fragments, number_of_frames, syntax):
        return _runs(fragments, firsts), problem
    return (), f"{count} fragments cannot be assigned to {number_of_frames} frames"


def _firsts_without_table(data: Buffer, fragments: Fragments, frames: int, syntax: TransferSyntax) -> list[int]:
    """Return the index of each frame's first fragment; empty when the fragments do not show it."""
    if len(fragments.starts) == frames:
        return list(range(frames))
    if frames == 1:
        return [0]
    firsts = _beginnings(data, fragments) if syntax.uid != RLE_LOSSLESS else []
    return firsts if len(firsts) == frames and firsts[0] == 0 else []


def _firsts(fragments: Fragments, table: Sequence[int]) -> list[int]:
    """Return the index of each frame's first fragment; empty when the table points anywhere else."""
    starts = fragments.starts
    firsts: list[int] = []
    index = 0
    for offset in table:
        while index < len(starts) and starts[index] - starts[0] < offset:
            index += 1
        if index == len(starts) or starts[index] - starts[0] != offset:
            return []
        firsts.append(index)
        index += 1
    return firsts if firsts and firsts[0] == 0 else []


def _beginnings(data: Buffer, fragments: Fragments) -> list[int]:
    """Return the indices of the fragments in which a bit stream begins."""
    starts = fragments.starts
    return [i for i, start in enumerate(starts) if bytes(data[start + 8 : start + 12]).startswith(_STREAM_BEGINS)]


def _runs(fragments: Fragments, firsts: list[int]) -> Frames:
    behind = [*firsts[1:], len(fragments.starts)]
    return tuple(fragments.run(first, end) for first, end in zip(firsts, behind, strict=True))
