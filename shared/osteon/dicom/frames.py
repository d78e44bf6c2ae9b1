"""Encapsulated pixel data: its fragments, and which of them make up which frame (PS3.5 A.4)."""

import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

from osteon.dicom.encoding import ITEM, SEQUENCE_END, UNDEFINED, Buffer, Encoding
from osteon.dicom.errors import BadDataSet
from osteon.dicom.uids import RLE_LOSSLESS, TransferSyntax

Frames = tuple[tuple[int, int], ...]
"""(offset, length) of each frame's run of fragment items, in bytes."""

ITEM_HEAD: Final = 8
"""Bytes of an item's tag and length."""

_COMPRESSED: Final = "1.2.840.10008.1.2.4."
"""Begins the UIDs of transfer syntaxes whose bit streams show where they begin."""

_STREAM_BEGINS: Final = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\x00\x00\x00\x0c")
"""First bytes of a JPEG, JPEG 2000 or JPEG XL bit stream, and of one in a box."""

_RLE_HEADER: Final = struct.Struct("<16L")
_RLE_END: Final = ITEM_HEAD + _RLE_HEADER.size

_MOST_FRAGMENTS: Final = 1 << 19
"""A gigapixel slide has some hundred thousand."""

_MOST_DIGITS: Final = 10

OTHER_TABLE: Final = "an offset table that does not agree with the fragments"
"""A problem that costs no frame."""


@dataclass(slots=True)
class Fragments:
    """The items of an encapsulated value.

    Attributes:
        starts: offset of each fragment's item head, the Basic Offset Table's left out.
        offset_table: entries of the Basic Offset Table, relative to the first fragment's item head.
        end: offset behind the last fragment, where the sequence delimiter stands.
        following: offset of what follows the value, delimiter included.
        problem: empty when nothing was wrong.
        cut: the data ends within the last fragment, which has fewer bytes than its head says.
    """

    starts: "array[int]" = field(default_factory=lambda: array("Q"))
    offset_table: tuple[int, ...] = ()
    end: int = 0
    following: int = 0
    problem: str = ""
    cut: bool = False

    def run(self, first: int, behind: int) -> tuple[int, int]:
        """Return (offset, length) of the fragments from `first` up to and without `behind`."""
        end = self.starts[behind] if behind < len(self.starts) else self.end
        return self.starts[first], end - self.starts[first]


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Which fragments make up which frame: frame n, from 1, is those from bounds[n - 1] up to and without bounds[n].

    Attributes:
        problem: why some or all frames are missing, or what else was wrong; empty when nothing was.
    """

    fragments: Fragments
    bounds: Sequence[int] = ()
    problem: str = ""

    @property
    def count(self) -> int:
        """Number of frames that are there."""
        return max(0, len(self.bounds) - 1)

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return 8 * (len(self.fragments.starts) + len(self.bounds)) + 1000

    def run(self, number: int) -> tuple[int, int]:
        """Return (offset, length) of the fragments of frame `number`, item heads included."""
        return self.fragments.run(self.bounds[number - 1], self.bounds[number])

    def runs(self) -> Frames:
        """Return (offset, length) of every frame."""
        return tuple(self.run(number) for number in range(1, self.count + 1))


def number_of_frames(value: object) -> int:
    """Return what a value of Number of Frames (0028,0008) says; 1 where it says no number of frames."""
    text = str(value).strip(" \0")
    return max(1, int(text)) if text.isdecimal() and text.isascii() and len(text) < _MOST_DIGITS else 1


def read_fragments(data: Buffer, position: int, tag: int, encoding: Encoding) -> Fragments:
    """Walk the items of the value of undefined length that begins at `position`.

    It ends with its delimiter. Without one it ends where something else than an item stands, or with the data, within
    the last fragment perhaps, and `problem` says so. Raises `BadDataSet` when absurdly many fragments come.
    """
    found = Fragments()
    begin, size, head = position, len(data), encoding.item.unpack_from
    append, left, odd = found.starts.append, _MOST_FRAGMENTS, 0
    while position + ITEM_HEAD <= size:
        group, element, length = head(data, position)
        if group << 16 | element != ITEM or length == UNDEFINED:
            break
        if position == begin:
            found.offset_table = _table("<%dL", data, begin + ITEM_HEAD, min(length, size - begin - ITEM_HEAD) // 4)
        else:
            append(position)
        position += ITEM_HEAD + length
        odd = length % 2
        left -= 1
        if left < 0:
            raise BadDataSet(f"more than {_MOST_FRAGMENTS} fragments", f"{tag:08X}", position)
    found.end = found.following = min(position, size)
    if position > size:
        found.cut = True
        found.problem = f"the data set ends {position - size} bytes before its last fragment does"
        return found
    if odd and position + ITEM_HEAD < size and _tag(head, data, position) != SEQUENCE_END:
        position += 1  # Some writers pad the value, but not a fragment of an odd length.
    if position + ITEM_HEAD > size:
        found.following = size
        found.problem = "the sequence delimiter behind the fragments is missing"
    elif (behind := _tag(head, data, position)) == SEQUENCE_END:
        found.following = position + ITEM_HEAD
    else:
        found.problem = f"expected a fragment or the delimiter behind the fragments at byte {found.end}"
        # The next element, where only the delimiter is missing; nothing else can be read any more.
        found.following = found.end if tag < behind != ITEM and not odd else size
    return found


def _tag(head: Callable[[Buffer, int], tuple[Any, ...]], data: Buffer, position: int) -> int:
    group, element, _ = head(data, position)
    return int(group << 16 | element)


def _table(form: str, data: Buffer, start: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(form % max(0, min(count, _MOST_FRAGMENTS)), data, start)


def extended_offset_table(data: Buffer, start: int, length: int) -> tuple[int, ...]:
    """Read the value of the Extended Offset Table: entries relative to the first fragment's item head."""
    return _table("<%dQ", data, start, length // 8)


def assign_frames(
    data: Buffer, fragments: Fragments, frames: int, syntax: TransferSyntax, extended: Sequence[int] = ()
) -> FrameTable:
    """Assign fragments to `frames` frames, without decoding them: the only place that decides this.

    Where the fragments leave one reading, tables are not asked: as many fragments as frames are a fragment a frame.
    Else the first of `extended`, the Extended Offset Table (7FE0,0001), and the Basic Offset Table is believed whose
    entries are all heads of fragments, in order, and do not contradict the bit streams that begin there. Without such
    a table a frame begins with each bit stream. There may be fewer frames than Number of Frames says, never more.
    """
    count = len(fragments.starts)
    if not count:
        return FrameTable(fragments, problem=fragments.problem or "no fragments")
    if syntax.video:
        return FrameTable(fragments, (0, count), fragments.problem)
    tables = [table for table in (extended, fragments.offset_table) if table]
    bounds, problem = _bounds(data, fragments, frames, syntax, tables)
    problem = "; ".join(filter(None, (problem, fragments.problem)))
    if not problem and any(not _is_table_of(table, fragments, bounds) for table in tables):
        problem = OTHER_TABLE
    return FrameTable(replace(fragments, offset_table=()), bounds, problem)


def _bounds(
    data: Buffer, fragments: Fragments, frames: int, syntax: TransferSyntax, tables: list[Sequence[int]]
) -> tuple[Sequence[int], str]:
    """Return `FrameTable.bounds` and what is wrong with the number of frames."""
    count = len(fragments.starts)
    if count == frames:
        return range(count + 1), ""
    possible = [firsts for table in tables if (firsts := _firsts(fragments, table, frames))]
    for firsts in possible:
        if len(_beginnings(data, fragments, syntax, firsts)) == len(firsts):
            return array("Q", (*firsts, count)), _lacking(len(firsts), frames)
    begins = _beginnings(data, fragments, syntax, range(count))
    for firsts in possible:
        if set(begins) <= set(firsts):
            return array("Q", (*firsts, count)), _lacking(len(firsts), frames)
    bounds: Sequence[int] = ()
    if begins and not begins[0]:
        if len(begins) > frames:
            problem = f"{len(begins)} bit streams, Number of Frames (0028,0008) is {frames}"
            return array("Q", begins[: frames + 1]), problem
        if len(begins) == frames or _even((*begins, count)):
            bounds = array("Q", (*begins, count))
    elif frames == 1:
        bounds = (0, count)
    elif count < frames and not begins:
        bounds = range(count + 1)
    if not bounds:
        return (), f"{count} fragments cannot be assigned to {frames} frames"
    return bounds, _lacking(len(bounds) - 1, frames)


def _lacking(found: int, frames: int) -> str:
    return "" if found == frames else f"{found} frames, Number of Frames (0028,0008) is {frames}"


def _even(bounds: Sequence[int]) -> bool:
    """Whether every frame has as many fragments: else a bit stream whose beginning is damaged may be in another one."""
    return len({behind - first for first, behind in pairwise(bounds)}) == 1


def _firsts(fragments: Fragments, table: Sequence[int], frames: int) -> list[int]:
    """Return the index of each frame's first fragment; empty when the table points anywhere else.

    Of a value that ends early the table may go on behind its end.
    """
    if len(table) != frames or table[0]:
        return []
    origin, behind = fragments.starts[0], fragments.end - fragments.starts[0]
    index_of = {start - origin: index for index, start in enumerate(fragments.starts)}
    there = sum(offset < behind for offset in table) if fragments.problem else frames
    firsts = [index_of.get(offset, -1) for offset in table[:there]]
    in_order = all(first < following for first, following in pairwise(firsts))
    return firsts if in_order and -1 not in firsts else []


def _is_table_of(table: Sequence[int], fragments: Fragments, bounds: Sequence[int]) -> bool:
    starts = fragments.starts
    return list(table) == [starts[first] - starts[0] for first in bounds[:-1]]


def _beginnings(data: Buffer, fragments: Fragments, syntax: TransferSyntax, among: Sequence[int]) -> Sequence[int]:
    """Return those fragments, by index, in which a bit stream begins; empty where that does not show."""
    starts = fragments.starts
    if syntax.uid == RLE_LOSSLESS:
        return [i for i in among if _is_rle_header(bytes(data[starts[i] + ITEM_HEAD : starts[i] + _RLE_END]))]
    if not syntax.uid.startswith(_COMPRESSED):
        return []
    return [i for i in among if bytes(data[starts[i] + ITEM_HEAD : starts[i] + 12]).startswith(_STREAM_BEGINS)]


def _is_rle_header(head: bytes) -> bool:
    """Whether these are the number of segments and their offsets in order, the unused ones 0 (PS3.5 G.5)."""
    if len(head) < _RLE_HEADER.size:
        return False
    count, first, *offsets = _RLE_HEADER.unpack(head)
    used, unused = [first, *offsets[: count - 1]], offsets[count - 1 :]
    return 1 <= count <= len(offsets) + 1 and first == _RLE_HEADER.size and used == sorted(used) and not any(unused)
