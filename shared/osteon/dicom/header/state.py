"""The state of one reading of a data set, which its parts share: where it is, within what, what was wrong so far."""

from dataclasses import dataclass, field
from typing import Final

from osteon.dicom.encoding import Buffer
from osteon.dicom.errors import BadDataSet, HeaderTooLong, TruncatedDataSet
from osteon.dicom.header.memo import FragmentMemo
from osteon.dicom.header.model import HeaderProblem
from osteon.dicom.header.nesting import NestingLevel
from osteon.dicom.uids import TransferSyntax

_MOST_PROBLEMS: Final = 256

_MOST_OF_A_LEVEL: Final = 1 << 14
"""Elements of the data set itself, and of each item."""

_FRAGMENT_COST: Final = 64
"""Bytes of memory that an element's JSON takes besides its own."""


@dataclass(slots=True)
class ParserState:
    """One reading of one data set. See `osteon.dicom.header.reader.HeaderReader` for the limits.

    Attributes:
        limit: offset at which the header is too long; moves on by what is skipped.
        json_left: bytes that the header's JSON may still take: some values are ten times as long in JSON.
        elements_left: elements and items that may still be read.
        cut: the data set goes on behind the last byte of `data`, which may lie within pixel data.
        position: offset of what is read next.
        levels: the data set, the item that is being read in it, the one in that, …
        marks: counts everything that makes a sequence's JSON depend on more than its bytes.
    """

    data: Buffer
    syntax: TransferSyntax
    memo: FragmentMemo
    bulk_limit: int
    limit: int
    json_left: int
    elements_left: int
    max_depth: int
    cut: bool
    position: int = 0
    levels: list[NestingLevel] = field(default_factory=list)
    marks: int = 0
    problems: list[HeaderProblem] = field(default_factory=list)

    @property
    def at_root(self) -> bool:
        """Whether the current level is the data set itself."""
        return len(self.levels) == 1

    def path(self, tag: str) -> str:
        """Return the path of an element on the current level, `00400275[0].00400009`."""
        outer = (level.sequence for level in self.levels)
        return "".join(f"{s.element.tag:08X}[{len(s.items)}]." for s in outer if s) + tag

    def mark(self, tag: int | None, reason: str) -> None:
        """Record a problem with an element of the current level, or with the level as a whole."""
        self.marks += 1
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(HeaderProblem(self.path("" if tag is None else f"{tag:08X}"), reason))

    def check_limit(self, elements: int) -> None:
        """Raise `HeaderTooLong` when the header is too long; `elements` are those of the current level."""
        if self.position > self.limit or self.json_left < 0:
            raise HeaderTooLong("more header than the limit for one data set allows", "", self.position)
        if elements > self.elements_left or elements > _MOST_OF_A_LEVEL:
            raise HeaderTooLong("more elements and items than the limit for one data set allows", "", self.position)

    def charge(self, level: NestingLevel, fragment: bytes) -> None:
        """Count an element's JSON towards the limit."""
        size = len(fragment) + _FRAGMENT_COST
        level.charged += size
        self.json_left -= size

    def overrun(self, what: str, tag: int, position: int, end: int) -> BadDataSet:
        """Return the error for something at `position` that reaches to `end`, beyond what it is in."""
        if end > len(self.data):
            reason = f"{what} is longer than the data set" + (", as far as it may be inflated" if self.cut else "")
            return TruncatedDataSet(reason, f"{tag:08X}", position)
        return BadDataSet(f"{what} is longer than the sequence or item around it", f"{tag:08X}", position)
