"""What the header reader keeps of each data set, item and sequence that it is in."""

from dataclasses import dataclass, field
from typing import NamedTuple

from osteon.dicom.charset import CharacterSet
from osteon.dicom.encoding import Encoding
from osteon.dicom.header.memo import Key


class HeaderElement(NamedTuple):
    """An element whose head was read.

    Attributes:
        vr: as it stands in the data set; empty where none does.
        name: the VR by which the value is read.
        position, start, stop: offsets of the head, of the value and behind it; `stop` is -1 for undefined length.
    """

    tag: int
    vr: bytes
    name: str
    position: int
    start: int
    stop: int

    def json(self, name: str, member: bytes) -> bytes:
        """Return the element as a member of its data set's object; `member` holds the value, empty for none."""
        return b'"%08X":{"vr":"%b"%b}' % (self.tag, name.encode("ascii"), b"," + member if member else b"")


@dataclass(slots=True)
class OpenSequence:
    """A sequence whose items are being read.

    Attributes:
        end: offset behind the last item when the length is defined, else behind the data set or item around it.
        key: under which it is remembered; None when it is too long for that.
        marks: how much had been marked when it began; what has marks is not remembered.
        items: JSON of the items read so far.
    """

    element: HeaderElement
    encoding: Encoding
    end: int
    key: Key | None
    marks: int
    items: list[bytes] = field(default_factory=list)

    def json(self) -> bytes:
        """Return the sequence as a member of its data set's object; an empty one has no value (PS3.18 F.2.5)."""
        return self.element.json("SQ", b'"Value":[' + b",".join(self.items) + b"]" if self.items else b"")


@dataclass(slots=True)
class NestingLevel:
    """The data set, or a sequence item, whose elements are being read.

    Attributes:
        known: remembered fragments for this encoding and character set.
        end: offset behind the last element, or behind what is around an item of undefined length.
        number_of_frames, extended_offsets: what those elements say; the latter as (offset, length) of the value.
        signed: what Pixel Representation says, here or further out; None when it was not seen yet.
        lut_entries: first value of the LUT Descriptor.
        last_tag: highest tag so far.
        sequence: the one whose items are on the next level.
        charged: bytes of this level's JSON that count towards the limit of the header's JSON already.
        parts: JSON of the elements read so far, `"00100020":{…}`.
        creators: private creator elements: tag → value.
    """

    encoding: Encoding
    charset: CharacterSet
    known: dict[Key, bytes]
    end: int
    defined: bool
    signed: bool | None
    lut_entries: int = 0
    number_of_frames: int = 1
    extended_offsets: tuple[int, int] = (0, 0)
    last_tag: int = -1
    unordered: bool = False
    sequence: OpenSequence | None = None
    charged: int = 0
    parts: list[bytes] = field(default_factory=list)
    creators: dict[int, str] = field(default_factory=dict)

    def creator(self, tag: int) -> str:
        """Return the creator of the block that a private tag is in (PS3.5 7.8.1); empty when there is none."""
        return self.creators.get(tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8, "")

    def json(self) -> bytes:
        """Return the level as a JSON object."""
        return b"{" + b",".join(self.parts) + b"}"

    def put_in_order(self) -> bool:
        """Sort the elements by tag and leave out all but the first of each; whether there were duplicates."""
        count = len(self.parts)
        first_of = {part[:10]: part for part in reversed(self.parts)}
        self.parts = [first_of[name] for name in sorted(first_of)]
        return len(self.parts) < count
