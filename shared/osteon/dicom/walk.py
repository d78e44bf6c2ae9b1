"""One pass over the elements of a data set (PS3.5 section 7), which makes its DICOM JSON header.

Nested sequences are levels on a list, so that no depth exhausts the stack. Elements that were seen before, with the
same bytes, cost a look-up: in a series most are.
"""

from typing import Final

from osteon.dicom.charset import DEFAULT, character_set
from osteon.dicom.elements import element_head, item_encoding, nested_encoding, skip_undefined
from osteon.dicom.encoding import (
    ITEM,
    ITEM_END,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    actual_encoding,
    declared_encoding,
)
from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.frames import Fragments, extended_offset_table, frame_runs, read_fragments
from osteon.dicom.header import Header, PixelData, Problem
from osteon.dicom.levels import Level, OpenSequence
from osteon.dicom.memo import Key, Memo
from osteon.dicom.uids import TransferSyntax
from osteon.dicom.values import json_member, lut_descriptor
from osteon.dicom.vr import BINARY, LUT_DESCRIPTORS, private_vr, standard_vr, unambiguous_vr

_CHARACTER_SET: Final = 0x00080005
_NUMBER_OF_FRAMES: Final = 0x00280008
_PIXEL_REPRESENTATION: Final = 0x00280103
_LUT_DESCRIPTOR: Final = 0x00283002
_EXTENDED_OFFSETS: Final = 0x7FE00001
_TRAILING_PADDING: Final = 0xFFFCFFFC
_PIXEL_DATA: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_NOTED: Final = frozenset(
    (_CHARACTER_SET, _NUMBER_OF_FRAMES, _PIXEL_REPRESENTATION, _LUT_DESCRIPTOR, _EXTENDED_OFFSETS)
)
"""Elements that say something about others, so that their bytes are looked at each time."""
_SPECIAL: Final = _NOTED | LUT_DESCRIPTORS | _PIXEL_DATA | {ITEM, ITEM_END, SEQUENCE_END, _TRAILING_PADDING}

_BULK: Final = BINARY | {"DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"}
"""VRs that may have a BulkDataURI (PS3.18 F.2.2)."""
_LONGEST_TEXT: Final = 1 << 20
"""Bytes of a value of any other VR that are read; no value that the standard allows is nearly as long."""
_LONGEST_REMEMBERED: Final = 16384
"""Bytes of a sequence that is remembered as a whole."""
_MOST_PROBLEMS: Final = 256
_BULK_COST: Final = 256
"""Bytes that an entry in `Header.bulk` counts towards the header's limit."""


class Walk:
    """One reading of one data set. See `osteon.dicom.reader.HeaderReader` for the limits.

    `cut` says that the data goes on behind the last byte of `data`, which then may lie within pixel data.
    """

    def __init__(
        self,
        data: Buffer,
        syntax: TransferSyntax,
        memo: Memo,
        *,
        bulk_limit: int,
        header_limit: int,
        max_depth: int,
        cut: bool,
    ) -> None:
        self._data = data
        self._size = len(data)
        self._syntax = syntax
        self._memo = memo
        self._bulk_limit = bulk_limit
        self._limit = header_limit
        self._max_depth = max_depth
        self._cut = cut
        self._position = 0
        self._root_position = 0
        self._levels: list[Level] = []
        self._marks = 0
        self._problems: list[Problem] = []
        self._bulk: dict[str, tuple[int, int]] = {}
        self._pixel_data: PixelData | None = None
        self._number_of_frames = 1
        self._extended_offsets = (0, 0)
        self._signed_ahead: bool | None = None

    def header(self) -> Header:
        """Walk from the first byte to the last."""
        declared = declared_encoding(self._syntax)
        encoding = actual_encoding(self._data, 0, declared)
        if encoding is not declared:
            self._mark("", f"{'explicit' if encoding.explicit else 'implicit'} VR, unlike the transfer syntax")
        root = Level(encoding, DEFAULT, self._memo.fragments(encoding, DEFAULT), self._size, True, None)
        self._levels.append(root)
        try:
            while self._levels:
                level = self._levels[-1]
                if level.sequence:
                    self._next_item(level, level.sequence)
                elif self._elements(level):
                    self._close_level()
        except BadDataSet as error:
            raise type(error)(error.reason, self._path(error.tag), error.offset) from None
        return Header(root.json(), self._pixel_data, self._bulk, tuple(self._problems))

    # Levels and sequences

    def _elements(self, level: Level) -> bool:
        """Read elements until the level ends (True) or a sequence begins (False)."""
        data, end, known, append = self._data, level.end, level.known, level.parts.append
        explicit, head = level.encoding.explicit, level.encoding.head.unpack_from
        limit, whole_heads = self._bulk_limit, level.end - 8
        position, last = self._position, level.last_tag
        while position < end:
            # The first way is for what was seen before; `_element` is for everything.
            if position <= whole_heads:
                if explicit:
                    group, element, vr, length = head(data, position)
                    short = vr in SHORT_VRS
                else:
                    group, element, length = head(data, position)
                    short = True
                tag = group << 16 | element
                if (
                    short
                    and length <= limit
                    and tag > last
                    and tag not in _SPECIAL
                    and (element > 0xFF or not group & 1)
                ):
                    stop = position + 8 + length
                    fragment = known.get(bytes(data[position:stop]))
                    if fragment and stop <= end:
                        append(fragment)
                        last, position = tag, stop
                        continue
            level.last_tag = last
            if self._element(level, position):
                return level.sequence is None
            position, last, known = self._position, level.last_tag, level.known
        level.last_tag, self._position = last, position
        if not level.defined:
            raise TruncatedDataSet("the delimiter of an item is missing", "", position)
        return True

    def _close_level(self) -> None:
        level = self._levels[-1]
        if level.unordered:
            duplicates = level.put_in_order()
            self._mark(
                "", "duplicate elements, the first of each is kept" if duplicates else "elements are out of order"
            )
        self._levels.pop()
        if self._levels and (sequence := self._levels[-1].sequence):
            sequence.items.append(level.json())

    def _next_item(self, level: Level, sequence: OpenSequence) -> None:
        """Begin the item at the current position, or end the sequence there."""
        position = self._position
        self._check_limit(position)
        if position >= sequence.end:
            if not sequence.defined:
                raise TruncatedDataSet("the delimiter of a sequence is missing", "", position)
            self._close_sequence(level, sequence)
            return
        tag, _, start, length = element_head(self._data, position, sequence.encoding)
        self._position = start
        if tag == SEQUENCE_END:
            self._close_sequence(level, sequence)
            return
        if tag != ITEM:
            raise BadDataSet("expected an item or the sequence's end", f"{tag:08X}", position)
        defined = length != UNDEFINED
        end = start + length if defined else sequence.end
        if end > sequence.end:
            raise self._overrun(f"an item of {length} bytes", tag, position, end)
        encoding = item_encoding(self._data, start, sequence.encoding)
        known = level.known if encoding is level.encoding else self._memo.fragments(encoding, level.charset)
        self._levels.append(Level(encoding, level.charset, known, end, defined, level.signed))

    def _open_sequence(self, level: Level, tag: int, vr: bytes, position: int, start: int, stop: int) -> bool:
        """Begin a sequence (True), unless it is remembered or nested too deeply. `stop` is -1 for undefined length."""
        key = None
        if 0 <= stop <= position + _LONGEST_REMEMBERED:
            key = (f"SQ{level.signed}", bytes(self._data[position:stop]))
            if fragment := level.known.get(key):
                level.parts.append(fragment)
                self._position = stop
                return False
        encoding = nested_encoding(vr, level.encoding)
        if len(self._levels) > self._max_depth:
            self._mark(f"{tag:08X}", f"sequences nested deeper than {self._max_depth} levels, left out")
            level.parts.append(b'"%08X":{"vr":"SQ"}' % tag)
            self._position = stop if stop >= 0 else skip_undefined(self._data, start, encoding)
            self._limit += self._position - start
            return False
        end = stop if stop >= 0 else level.end
        level.sequence = OpenSequence(tag, encoding, end, stop >= 0, key, self._marks)
        self._position = start
        return True

    def _close_sequence(self, level: Level, sequence: OpenSequence) -> None:
        fragment = sequence.json()
        if sequence.key and sequence.marks == self._marks:
            self._memo.remember(level.known, sequence.key, fragment)
        level.parts.append(fragment)
        level.sequence = None

    # Elements

    def _element(self, level: Level, position: int) -> bool:
        """Read the element at `position`, whatever it is; whether to leave its level, for a sequence or for good."""
        root = len(self._levels) == 1
        if root:
            self._root_position = position
            if self._is_padding(position):
                return False
        self._check_limit(position)
        tag, vr, start, length = element_head(self._data, position, level.encoding)
        if tag >> 16 == 0xFFFE:
            return self._delimiter(level, tag, position, start, root)
        if tag > level.last_tag:
            level.last_tag = tag
        else:
            level.unordered = True
        name = self._vr(level, tag, vr, length)
        if length == UNDEFINED:
            return self._undefined(level, tag, name, vr, position, start)
        stop = start + length
        if stop > level.end:
            if not (self._cut and root and tag in _PIXEL_DATA):
                raise self._overrun(f"a value of {length} bytes", tag, position, stop)
            self._mark(f"{tag:08X}", "inflated to the limit only: that its value is complete was not checked")
            stop = self._size
        if name == "SQ":
            return self._open_sequence(level, tag, vr, position, start, stop)
        self._position = stop
        if tag & 0xFFFF == 0 or tag == _TRAILING_PADDING:
            return False  # Group lengths and padding are not part of the model (PS3.18 F.2.2).
        if length and (tag in _PIXEL_DATA or length > (self._bulk_limit if name in _BULK else _LONGEST_TEXT)):
            self._leave_out(level, tag, name, start, stop)
            if root and tag in _PIXEL_DATA:
                self._locate(PixelData(f"{tag:08X}", start, stop - start, False))
        else:
            self._value(level, tag, name, vr, position, start)
        return False

    def _delimiter(self, level: Level, tag: int, position: int, start: int, root: bool) -> bool:
        """End an item where its delimiter stands; where the sequence's stands instead, as some writers have it, too."""
        if tag == ITEM:
            raise BadDataSet("an item where an element is expected", f"{tag:08X}", position)
        if root:
            self._mark(f"{tag:08X}", "a delimiter outside of sequences")
        elif tag == SEQUENCE_END:
            self._mark(f"{tag:08X}", "the delimiter of the item before it is missing")
            start = position
        self._position = start
        return not root

    def _vr(self, level: Level, tag: int, vr: bytes, length: int) -> str:
        """Return the VR by which the element is read: its own, or what the dictionaries say (PS3.5 6.2.2)."""
        if vr and vr != b"UN":
            if vr in SHORT_VRS or vr in LONG_VRS:
                return vr.decode("ascii")
            self._mark(f"{tag:08X}", f"unknown VR {vr.decode('ascii')}, taken for UN")
            return "UN"
        if tag & 0x10000:
            name = private_vr(tag, level.creator(tag))
        elif vr and 0xFFFF <= length < UNDEFINED:
            return "UN"  # A writer turns elements too long for a 16-bit length into UN (PS3.5 6.2.2 note 3).
        else:
            name = standard_vr(tag) or "UN"
        if len(name) == 2:
            return name
        signed = name == "US or SS" and self._signed(level)
        return unambiguous_vr(tag, name, signed=signed, lut_entries=level.lut_entries)

    def _value(self, level: Level, tag: int, name: str, vr: bytes, position: int, start: int) -> None:
        whole = bytes(self._data[position : self._position])
        raw = whole[start - position :]
        certain = vr != b"UN" if vr else name == standard_vr(tag)
        key: Key = whole if certain else (name, whole)
        fragment = level.known.get(key)
        if fragment is None:
            little_endian = level.encoding.little_endian or vr == b"UN"
            if tag in LUT_DESCRIPTORS and name == "SS" and len(raw) == 6:
                member, problem = lut_descriptor(raw, little_endian=little_endian), ""
            elif tag == _CHARACTER_SET and raw.strip(b" \0"):
                member, problem = b'"Value":["ISO_IR 192"]', character_set(raw).problem
            else:
                name, member, problem = json_member(name, raw, level.charset, little_endian=little_endian)
            fragment = b'"%08X":{"vr":"%b"%b}' % (tag, name.encode("ascii"), b"," + member if member else b"")
            if problem:
                self._mark(f"{tag:08X}", problem)
            else:
                self._memo.remember(level.known, key, fragment)
        level.parts.append(fragment)
        if tag in _NOTED or tag & 0x1FF00 == 0x10000:
            self._note(level, tag, raw, start)

    def _note(self, level: Level, tag: int, raw: bytes, start: int) -> None:
        """Keep what an element says about others."""
        if tag == _CHARACTER_SET:
            level.charset = character_set(raw)
            level.known = self._memo.fragments(level.encoding, level.charset)
        elif tag == _PIXEL_REPRESENTATION:
            level.signed = any(raw)
        elif tag == _LUT_DESCRIPTOR:
            level.lut_entries = int.from_bytes(raw[:2], "little" if level.encoding.little_endian else "big")
        elif tag == _NUMBER_OF_FRAMES:
            digits = raw.strip(b" \0")
            if len(self._levels) == 1 and digits.isdigit() and len(digits) < 10:
                self._number_of_frames = int(digits)
        elif tag == _EXTENDED_OFFSETS:
            if len(self._levels) == 1:
                self._extended_offsets = (start, len(raw))
        else:
            level.creators[tag] = raw.decode("latin-1").strip(" \0")

    def _signed(self, level: Level) -> bool:
        """Whether pixel values are signed. Elements that depend on it may stand before the one that says so."""
        if level.signed is None:
            self._marks += 1
            if self._signed_ahead is None:
                self._signed_ahead = self._look_ahead()
            level.signed = self._signed_ahead
        return level.signed

    def _look_ahead(self) -> bool:
        """Look for Pixel Representation in the data set itself, from the element on at which the walk is."""
        encoding, position = self._levels[0].encoding, self._root_position
        try:
            while position < self._size:
                tag, vr, start, length = element_head(self._data, position, encoding)
                if tag >= _PIXEL_REPRESENTATION:
                    return tag == _PIXEL_REPRESENTATION and any(bytes(self._data[start : start + min(length, 2)]))
                nested = nested_encoding(vr, encoding)
                position = skip_undefined(self._data, start, nested) if length == UNDEFINED else start + length
        except BadDataSet:
            return False  # The walk itself comes there, and says what is wrong.
        return False

    # Bulk data

    def _undefined(self, level: Level, tag: int, name: str, vr: bytes, position: int, start: int) -> bool:
        """Read a value of undefined length: fragments, else a sequence."""
        fragments = tag in _PIXEL_DATA or (name in BINARY and name != "UN" and vr != b"UN")
        if not fragments:
            if name not in ("SQ", "UN") and vr not in (b"", b"UN"):
                raise BadDataSet(f"undefined length with VR {name}", f"{tag:08X}", position)
            return self._open_sequence(level, tag, vr, position, start, -1)
        found = read_fragments(self._data, start, tag, level.encoding)
        if found.following > level.end:
            raise self._overrun("fragments", tag, position, found.following)
        if found.problem:
            self._mark(f"{tag:08X}", found.problem)
        self._position = found.following
        self._leave_out(level, tag, vr.decode("ascii") if vr in (b"OB", b"OW") else "OB", start, found.end)
        if len(self._levels) == 1 and tag in _PIXEL_DATA:
            self._assign(found, tag, start)
        return False

    def _assign(self, found: Fragments, tag: int, start: int) -> None:
        table = extended_offset_table(self._data, *self._extended_offsets)
        frames, problem = frame_runs(self._data, found, self._number_of_frames, self._syntax, table)
        if problem:
            self._mark(f"{tag:08X}", problem)
        self._locate(PixelData(f"{tag:08X}", start, found.end - start, True, frames))

    def _locate(self, pixel_data: PixelData) -> None:
        if not self._syntax.deflated and self._pixel_data is None:
            self._pixel_data = pixel_data

    def _leave_out(self, level: Level, tag: int, name: str, start: int, stop: int) -> None:
        """Put a reference in place of a value."""
        path = self._path(f"{tag:08X}").replace("[", "/").replace("].", "/")
        level.parts.append(f'"{tag:08X}":{{"vr":"{name}","BulkDataURI":"bulk/{path}"}}'.encode())
        if not self._syntax.deflated:
            self._bulk.setdefault(path, (start, stop - start))
        if tag == _EXTENDED_OFFSETS and len(self._levels) == 1:
            self._extended_offsets = (start, stop - start)
        if name not in _BULK:
            self._mark(f"{tag:08X}", f"a value of {stop - start} bytes, too long for VR {name}, left out")
        self._marks += 1
        self._limit += stop - start - _BULK_COST

    # Errors and problems

    def _is_padding(self, position: int) -> bool:
        """Whether only zero bytes are left, too few for an element; then go behind them."""
        rest = self._size - position
        if rest >= 8 or any(bytes(self._data[position : self._size])):
            return False
        self._mark("", f"{rest} zero bytes behind the last element")
        self._position = self._size
        return True

    def _check_limit(self, position: int) -> None:
        if position > self._limit:
            raise BadDataSet("more header than the limit for one data set allows", "", position)

    def _overrun(self, what: str, tag: int, position: int, end: int) -> BadDataSet:
        if end > self._size:
            reason = f"{what} is longer than the data set" + (", as far as it may be inflated" if self._cut else "")
            return TruncatedDataSet(reason, f"{tag:08X}", position)
        return BadDataSet(f"{what} is longer than the sequence or item around it", f"{tag:08X}", position)

    def _mark(self, tag: str, reason: str) -> None:
        self._marks += 1
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(Problem(self._path(tag), reason))

    def _path(self, tag: str) -> str:
        outer = (level.sequence for level in self._levels)
        return "".join(f"{s.tag:08X}[{len(s.items)}]." for s in outer if s) + tag
