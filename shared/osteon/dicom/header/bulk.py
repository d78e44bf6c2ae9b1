"""Values that are left out of a header: where they lie, and pixel data's frames (PS3.18 F.2.6, PS3.5 A.4)."""

from typing import Final

from osteon.dicom.frames import OTHER_TABLE, Fragments, assign_frames, extended_offset_table, read_fragments
from osteon.dicom.header.model import PixelData
from osteon.dicom.header.nesting import HeaderElement, NestingLevel
from osteon.dicom.header.state import ParserState
from osteon.dicom.vr import BINARY

PIXEL_DATA: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
"""Float, double float and integer pixel data."""
PIXEL_TAGS: Final = frozenset(f"{tag:08X}" for tag in PIXEL_DATA)
"""The same as keys of the DICOM JSON Model."""

EXTENDED_OFFSETS: Final = 0x7FE00001

_ALLOWED: Final = BINARY | {"DS", "FD", "FL", "IS", "LT", "SL", "SS", "ST", "SV", "UC", "UL", "US", "UT", "UV"}
"""VRs that may have a BulkDataURI (PS3.18 F.2.2)."""

_LONGEST_TEXT: Final = 0xFFFF
"""Bytes of a value of any other VR that are read: most have 16-bit lengths in explicit VR (PS3.5 7.1.2)."""

_COST: Final = 256
"""Bytes that an entry in `Header.bulk` counts towards the header's limit."""


class BulkData:
    """What `Header.bulk` and `Header.pixel_data` will be. Stays empty when the data set is deflated."""

    def __init__(self, state: ParserState) -> None:
        self._state = state
        self.values: dict[str, tuple[int, int]] = {}
        self.pixel_data: PixelData | None = None

    def is_bulk(self, element: HeaderElement) -> bool:
        """Whether to leave out an element's value, which has a defined length."""
        length = element.stop - element.start
        if element.tag in PIXEL_DATA:
            return length > 0
        return length > self._state.bulk_limit and (element.name in _ALLOWED or length > _LONGEST_TEXT)

    def leave_out(self, level: NestingLevel, element: HeaderElement) -> None:
        """Put a reference in place of a value."""
        self._refer(level, element)
        if self._state.at_root and element.tag == EXTENDED_OFFSETS:
            level.extended_offsets = (element.start, element.stop - element.start)
        # Of a deflated data set nothing can be addressed; of pixel data that comes twice the first counts.
        first = self.pixel_data is None and not self._state.syntax.deflated
        if first and self._state.at_root and element.tag in PIXEL_DATA:
            self.pixel_data = PixelData(f"{element.tag:08X}", element.start, element.stop - element.start, False)

    def leave_out_fragments(self, level: NestingLevel, element: HeaderElement) -> None:
        """Put a reference in place of encapsulated pixel data, and go behind it."""
        state = self._state
        found = read_fragments(state.data, element.start, element.tag, level.encoding)
        if found.following > level.end:
            raise state.overrun("encapsulated data", element.tag, element.position, found.following)
        if found.problem:
            state.mark(element.tag, found.problem)
        name = element.name if element.vr and element.name != "UN" else "OB"
        self._refer(level, element._replace(name=name, stop=found.end))
        state.position = found.following
        # Only once: a data set may repeat the element, and its offset table can be long.
        if state.at_root and element.tag in PIXEL_DATA and self.pixel_data is None and not state.syntax.deflated:
            self.pixel_data = self._encapsulated(level, element, found)

    def _encapsulated(self, level: NestingLevel, element: HeaderElement, found: Fragments) -> PixelData:
        state = self._state
        table = extended_offset_table(state.data, *level.extended_offsets)
        assigned = assign_frames(state.data, found, level.number_of_frames, state.syntax, table)
        problem = assigned.problem
        if problem and problem != found.problem:
            state.mark(element.tag, problem)
        name, length = f"{element.tag:08X}", found.end - element.start
        return PixelData(name, element.start, length, True, assigned.runs(), problem if problem != OTHER_TABLE else "")

    def _refer(self, level: NestingLevel, element: HeaderElement) -> None:
        state = self._state
        path = state.path(f"{element.tag:08X}").replace("[", "/").replace("].", "/")
        length = element.stop - element.start
        level.parts.append(element.json(element.name, f'"BulkDataURI":"bulk/{path}"'.encode()))
        if not state.syntax.deflated:
            self.values.setdefault(path, (element.start, length))
        if element.name not in _ALLOWED:
            state.mark(element.tag, f"a value of {length} bytes, too long for VR {element.name}, left out")
        state.marks += 1
        state.limit += length - _COST
