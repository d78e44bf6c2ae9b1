"""One pass over the elements of a data set (PS3.5 section 7), which makes its DICOM JSON header.

Nested sequences are levels on a list, so that no depth exhausts the stack. Elements that were seen before, with the
same bytes, cost a look-up: in a series most are.
"""

from collections.abc import Sequence
from typing import Final

from osteon.dicom.charset import DEFAULT
from osteon.dicom.elements import (
    element_head,
    find_next_element,
    item_encoding,
    nested_encoding,
    skip_undefined,
)
from osteon.dicom.encoding import (
    ITEM,
    ITEM_BYTES,
    ITEM_END,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    actual_encoding,
    declared_encoding,
)
from osteon.dicom.errors import BadDataSet, HeaderTooLong, TruncatedDataSet
from osteon.dicom.header.bulk import PIXEL_DATA, BulkData
from osteon.dicom.header.interpreter import NOTED, ElementInterpreter
from osteon.dicom.header.model import Header
from osteon.dicom.header.nesting import HeaderElement, NestingLevel, OpenSequence
from osteon.dicom.header.state import ParserState
from osteon.dicom.vr import BINARY, LUT_DESCRIPTORS

_TRAILING_PADDING: Final = 0xFFFCFFFC
_SPECIAL: Final = NOTED | LUT_DESCRIPTORS | PIXEL_DATA | {ITEM, ITEM_END, SEQUENCE_END, _TRAILING_PADDING}
"""Elements that are never taken from memory."""

_LONGEST_REMEMBERED: Final = 16384
"""Bytes of a sequence that is remembered as a whole."""

_MAX_FAULTS: Final = 16
"""Damaged elements that are passed over."""

_ITEM_COST: Final = 48
"""Bytes that an item counts towards the header's limit besides its own: its JSON takes memory even when it is empty."""


class HeaderParser:
    """Parses one data set into a `Header`."""

    def __init__(self, state: ParserState) -> None:
        self._state = state
        self._interpreter = ElementInterpreter(state)
        self._bulk = BulkData(state)
        self._left = state.json_left, state.elements_left

    def header(self) -> Header:
        """Walk from the first byte to the last."""
        root = self._root()
        self._state.levels.append(root)
        try:
            self._walk()
        except BadDataSet as error:
            raise self._located(error) from None
        return self._header(root)

    def beginning(self, known: Sequence[bytes]) -> Header:
        """Walk as far as it goes, over damaged elements too, and return the whole elements and those `known`."""
        state, unread = self._state, ""
        root = self._root()
        state.levels.append(root)
        for _ in range(_MAX_FAULTS):
            try:
                self._walk()
                break
            except BadDataSet as error:
                unread = unread or str(self._located(error))
                if not self._pass_over(error):
                    break
        if unread:
            root.parts += known
            root.put_in_order()
        return self._header(root, unread)

    def _walk(self) -> None:
        state = self._state
        while state.levels:
            level = state.levels[-1]
            if level.sequence:
                self._next_item(level, level.sequence)
            elif self._elements(level):
                self._close_level(level)

    def _located(self, error: BadDataSet) -> BadDataSet:
        return type(error)(error.reason, self._state.path(error.tag), error.offset)

    def _pass_over(self, error: BadDataSet) -> bool:
        """Go behind the damaged element of the data set itself; whether it is plain to see where that is."""
        state, position = self._state, self._interpreter.root_position
        root = state.levels[0]
        sequence, root.sequence = root.sequence, None
        following: int | None
        if isinstance(error, HeaderTooLong) and sequence:
            following = sequence.element.stop
            if following < 0:
                following = skip_undefined(state.data, sequence.element.start, sequence.encoding)
        else:
            following = find_next_element(state.data, position, root.encoding, root.end, error)
        if following is None:
            return False
        del state.levels[1:]
        if sequence:
            root.parts.append(sequence.element.json("SQ", b""))
        state.mark(sequence.element.tag if sequence else None, f"{following - position} bytes passed over")
        state.position = following
        state.limit += following - position
        state.json_left, state.elements_left = self._left
        return True

    def _header(self, root: NestingLevel, unread: str = "") -> Header:
        problems = tuple(self._state.problems)
        return Header(root.json(), self._bulk.pixel_data, self._bulk.values, problems, unread)

    def _root(self) -> NestingLevel:
        state = self._state
        declared = declared_encoding(state.syntax)
        encoding = actual_encoding(state.data, 0, declared)
        if encoding is not declared:
            state.mark(None, f"{'explicit' if encoding.explicit else 'implicit'} VR, unlike the transfer syntax")
        known = state.memo.fragments(encoding, DEFAULT)
        return NestingLevel(encoding, DEFAULT, known, len(state.data), defined=True, signed=None)

    def _elements(self, level: NestingLevel) -> bool:
        """Read elements until the level ends (True) or a sequence begins (False)."""
        state = self._state
        data, limit, append = state.data, state.bulk_limit, level.parts.append
        explicit, head = level.encoding.explicit, level.encoding.head.unpack_from
        end, last_head, known = level.end, level.end - 8, level.known
        position, last_tag = state.position, level.last_tag
        while position < end:
            # A short way for what was seen before; `_element` is the way for everything.
            if position <= last_head:
                if explicit:
                    group, element, vr, length = head(data, position)
                    short = vr in SHORT_VRS and length <= limit
                else:
                    group, element, length = head(data, position)
                    short = length <= limit
                tag = group << 16 | element
                if short and tag > last_tag and tag not in _SPECIAL and (element > 0xFF or not group & 1):
                    stop = position + 8 + length
                    fragment = known.get(bytes(data[position:stop]))
                    if fragment and stop <= end:
                        append(fragment)
                        last_tag, position = tag, stop
                        continue
            level.last_tag, state.position = last_tag, position
            if self._element(level):
                return level.sequence is None
            last_tag, position, known = level.last_tag, state.position, level.known
        level.last_tag, state.position = last_tag, position
        if not level.defined:
            raise TruncatedDataSet("the delimiter of an item is missing", "", position)
        return True

    def _close_level(self, level: NestingLevel) -> None:
        state = self._state
        if level.unordered:
            duplicates = level.put_in_order()
            state.mark(None, "duplicate elements, the first is kept" if duplicates else "elements are out of order")
        state.levels.pop()
        state.elements_left -= len(level.parts)
        if state.levels and (sequence := state.levels[-1].sequence):
            json = level.json()
            state.json_left -= max(0, len(json) - level.charged)
            sequence.items.append(json)

    def _next_item(self, level: NestingLevel, sequence: OpenSequence) -> None:
        """Begin the item at the current position, or end the sequence there."""
        state = self._state
        state.elements_left -= 1
        state.check_limit(0)
        position = state.position
        if position >= sequence.end:
            if sequence.element.stop < 0:
                raise TruncatedDataSet("the delimiter of a sequence is missing", "", position)
            self._close_sequence(level, sequence)
            return
        tag, _, start, length = element_head(state.data, position, sequence.encoding, sequence.end)
        if tag == ITEM_END and sequence.element.stop < 0 and not state.at_root and not level.defined:
            state.mark(tag, "the delimiter of the sequence before it is missing")
            self._close_sequence(level, sequence)
            return
        state.position = start
        if tag == SEQUENCE_END:
            self._close_sequence(level, sequence)
            return
        if tag != ITEM:
            raise BadDataSet("expected an item or the sequence's end", f"{tag:08X}", position)
        defined = length != UNDEFINED
        end = start + length if defined else sequence.end
        if end > sequence.end:
            raise state.overrun(f"an item of {length} bytes", tag, position, end)
        state.limit -= _ITEM_COST
        encoding = item_encoding(state.data, start, sequence.encoding, end)
        known = level.known if encoding is level.encoding else state.memo.fragments(encoding, level.charset)
        state.levels.append(NestingLevel(encoding, level.charset, known, end, defined, level.signed))

    def _open_sequence(self, level: NestingLevel, element: HeaderElement) -> bool:
        """Begin a sequence (True), unless it is remembered or nested too deeply."""
        state = self._state
        key = None
        if 0 <= element.stop <= element.position + _LONGEST_REMEMBERED:
            key = (f"SQ{level.signed}", bytes(state.data[element.position : element.stop]))
            if fragment := level.known.get(key):
                level.parts.append(fragment)
                state.position = element.stop
                return False
        if len(state.levels) > state.max_depth:
            self._leave_out_sequence(level, element)
            return False
        end = element.stop if element.stop >= 0 else level.end
        level.sequence = OpenSequence(element, nested_encoding(element.vr, level.encoding), end, key, state.marks)
        state.position = element.start
        return True

    def _leave_out_sequence(self, level: NestingLevel, element: HeaderElement) -> None:
        state = self._state
        state.mark(element.tag, f"nested deeper than {state.max_depth} sequences, left out")
        level.parts.append(element.json("SQ", b""))
        state.position = element.stop
        if element.stop < 0:
            encoding = nested_encoding(element.vr, level.encoding)
            state.position = skip_undefined(state.data, element.start, encoding)
        if state.position > level.end:
            raise state.overrun("a sequence", element.tag, element.position, state.position)
        state.limit += state.position - element.start

    def _close_sequence(self, level: NestingLevel, sequence: OpenSequence) -> None:
        state = self._state
        fragment = sequence.json()
        if sequence.key and sequence.marks == state.marks:
            state.memo.remember(level.known, sequence.key, fragment)
        level.parts.append(fragment)
        level.charged += len(fragment)
        level.sequence = None

    def _element(self, level: NestingLevel) -> bool:
        """Read the element at the current position, whatever it is; whether to leave its level, for now or for good."""
        state = self._state
        state.check_limit(len(level.parts))
        position = state.position
        if state.at_root:
            self._interpreter.root_position = position
            self._left = state.json_left, state.elements_left
            if self._is_padding(position):
                return False
        tag, vr, start, length = element_head(state.data, position, level.encoding, level.end)
        if tag >> 16 == 0xFFFE:
            return self._delimiter(level, tag, start)
        if tag > level.last_tag:
            level.last_tag = tag
        else:
            level.unordered = True
        if vr == b"UN" and (written := bytes(state.data[position + 4 : position + 6])) != b"UN":
            state.mark(tag, f"unknown VR {written.decode('latin-1')!r}, taken for UN")
        name = self._interpreter.vr(level, tag, vr, length)
        element = HeaderElement(tag, vr, name, position, start, start + length if length != UNDEFINED else -1)
        if length == UNDEFINED:
            return self._undefined(level, element)
        return self._defined(level, element)

    def _defined(self, level: NestingLevel, element: HeaderElement) -> bool:
        """Read a value of defined length."""
        state = self._state
        if element.stop > level.end:
            what = f"a value of {element.stop - element.start} bytes"
            if not state.at_root or element.tag not in PIXEL_DATA or element.start >= len(state.data):
                raise state.overrun(what, element.tag, element.position, element.stop)
            cut = f"{what} is longer than the data set, in which {len(state.data) - element.start} are left"
            state.mark(
                element.tag, "not inflated to its end: that it is complete was not checked" if state.cut else cut
            )
            element = element._replace(stop=len(state.data))
        if element.name == "SQ":
            if element.vr != b"UN" or self._begins_with_item(element):
                return self._open_sequence(level, element)
            element = element._replace(name="UN")
        state.position = element.stop
        if element.tag & 0xFFFF == 0 or element.tag == _TRAILING_PADDING:
            return False  # Group lengths and padding are not part of the model (PS3.18 F.2.2).
        if self._bulk.is_bulk(element):
            self._bulk.leave_out(level, element)
        else:
            self._interpreter.add(level, element)
        return False

    def _undefined(self, level: NestingLevel, element: HeaderElement) -> bool:
        """Read a value of undefined length: fragments, else a sequence."""
        binary = element.name in BINARY and element.name != "UN" and element.vr != b"UN"
        if binary or element.tag in PIXEL_DATA:
            self._bulk.leave_out_fragments(level, element)
            return False
        if element.name not in ("SQ", "UN") and element.vr not in (b"", b"UN"):
            raise BadDataSet(f"undefined length with VR {element.name}", f"{element.tag:08X}", element.position)
        return self._open_sequence(level, element)

    def _begins_with_item(self, element: HeaderElement) -> bool:
        """Whether the value of an element that says UN is the sequence that its tag stands for."""
        return bytes(self._state.data[element.start : element.start + 4]) in (b"", ITEM_BYTES)

    def _delimiter(self, level: NestingLevel, tag: int, start: int) -> bool:
        """End an item where its delimiter stands, or where one of the sequence or the next item stands instead."""
        state = self._state
        if tag == ITEM and level.defined:
            raise BadDataSet("an item where an element is expected", f"{tag:08X}", state.position)
        if state.at_root:
            state.mark(tag, "a delimiter outside of sequences")
        elif tag != ITEM_END:
            state.mark(tag, "the delimiter of the item before it is missing")
            return True
        state.position = start
        return not state.at_root

    def _is_padding(self, position: int) -> bool:
        """Whether only zero bytes are left, too few for an element; then go behind them."""
        state = self._state
        rest = len(state.data) - position
        if rest >= 8 or any(bytes(state.data[position:])):
            return False
        state.mark(None, f"{rest} zero bytes behind the last element")
        state.position += rest
        return True
