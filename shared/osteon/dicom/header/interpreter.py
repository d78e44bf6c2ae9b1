"""Elements in the light of others: which VR they have, what their values say, what they say about later ones.

Specific Character Set, private creators, Pixel Representation and LUT Descriptor decide how other elements are read
(PS3.5 6.1.2.3, 7.8.1, annex A.1).
"""

from typing import Final

from osteon.dicom.charset import character_set
from osteon.dicom.elements import element_head, nested_encoding, skip_undefined
from osteon.dicom.encoding import UNDEFINED
from osteon.dicom.errors import BadDataSet
from osteon.dicom.frames import number_of_frames
from osteon.dicom.header.bulk import EXTENDED_OFFSETS
from osteon.dicom.header.memo import Key
from osteon.dicom.header.nesting import HeaderElement, NestingLevel
from osteon.dicom.header.state import ParserState
from osteon.dicom.values import json_member, lut_descriptor, text_member
from osteon.dicom.vr import LUT_DESCRIPTORS, private_vr, standard_vr, unambiguous_vr

CHARACTER_SET: Final = 0x00080005
NUMBER_OF_FRAMES: Final = 0x00280008
PIXEL_REPRESENTATION: Final = 0x00280103
LUT_DESCRIPTOR: Final = 0x00283002
NOTED: Final = frozenset((CHARACTER_SET, NUMBER_OF_FRAMES, PIXEL_REPRESENTATION, LUT_DESCRIPTOR, EXTENDED_OFFSETS))
"""Elements that say something about others, so that they are looked at each time; so are private creators."""


class ElementInterpreter:
    """Reads the elements of one data set that have a value of their own: neither sequences nor bulk data."""

    def __init__(self, state: ParserState) -> None:
        self._state = state
        self._signed_ahead: bool | None = None
        self.root_position = 0

    def vr(self, level: NestingLevel, tag: int, vr: bytes, length: int) -> str:
        """Return the VR by which an element is read: its own, or what the dictionaries say (PS3.5 6.2.2)."""
        if vr and vr != b"UN":
            return vr.decode("ascii")
        if tag & 0x10000:
            name = private_vr(tag, level.creator(tag))
        elif vr and 0xFFFF <= length < UNDEFINED:
            return "UN"  # A value too long for a 16-bit length is written as UN (PS3.5 6.2.2 note 3).
        else:
            name = standard_vr(tag) or "UN"
        if len(name) == 2:
            return name
        signed = name == "US or SS" and self._signed(level)
        return unambiguous_vr(tag, name, signed=signed, lut_entries=level.lut_entries)

    def add(self, level: NestingLevel, element: HeaderElement) -> None:
        """Add an element's JSON to its level."""
        state = self._state
        whole = bytes(state.data[element.position : element.stop])
        certain = element.vr != b"UN" if element.vr else element.name == standard_vr(element.tag)
        key: Key = whole if certain else (element.name, whole)
        raw = whole[element.start - element.position :]
        fragment = level.known.get(key)
        if fragment is None:
            name, member, problem = self._member(level, element, raw)
            fragment = element.json(name, member)
            state.charge(level, fragment)
            if problem:
                state.mark(element.tag, problem)
            else:
                state.memo.remember(level.known, key, fragment)
        level.parts.append(fragment)
        if element.tag in NOTED or element.tag & 0x1FF00 == 0x10000:
            self._note(level, element, raw)

    def _member(self, level: NestingLevel, element: HeaderElement, raw: bytes) -> tuple[str, bytes, str]:
        """Return VR, the member that holds the value, and what was wrong with it."""
        name, little_endian = element.name, level.encoding.little_endian or element.vr == b"UN"
        if element.tag in LUT_DESCRIPTORS and name == "SS" and len(raw) == 6:
            return name, lut_descriptor(raw, little_endian=little_endian), ""
        if element.tag == CHARACTER_SET and raw.strip(b" \0"):
            # The JSON is UTF-8, whatever the data set is (PS3.18 F.2).
            text = text_member(["ISO_IR 192"], raw.decode("latin-1"))
            return name, b'"Value":["ISO_IR 192"]' + text, character_set(raw).problem
        return json_member(name, raw, level.charset, little_endian=little_endian)

    def _note(self, level: NestingLevel, element: HeaderElement, raw: bytes) -> None:
        """Keep what an element says about others."""
        if element.tag == CHARACTER_SET:
            level.charset = character_set(raw)
            level.known = self._state.memo.fragments(level.encoding, level.charset)
        elif element.tag == PIXEL_REPRESENTATION:
            level.signed = any(raw)
        elif element.tag == LUT_DESCRIPTOR:
            level.lut_entries = int.from_bytes(raw[:2], "little" if level.encoding.little_endian else "big")
        elif element.tag == NUMBER_OF_FRAMES:
            level.number_of_frames = number_of_frames(raw.decode("latin-1"))
        elif element.tag == EXTENDED_OFFSETS:
            level.extended_offsets = (element.start, len(raw))
        else:
            level.creators[element.tag] = raw.decode("latin-1").strip(" \0")

    def _signed(self, level: NestingLevel) -> bool:
        """Whether pixel values are signed. Elements that depend on it may stand before the one that says so."""
        if level.signed is None:
            self._state.marks += 1
            if self._signed_ahead is None:
                self._signed_ahead = self._look_ahead()
            level.signed = self._signed_ahead
        return level.signed

    def _look_ahead(self) -> bool:
        """Look for Pixel Representation in the data set itself, from the element on at which the reading is."""
        data, encoding, position = self._state.data, self._state.levels[0].encoding, self.root_position
        try:
            while position < len(data):
                tag, vr, start, length = element_head(data, position, encoding)
                if tag >= PIXEL_REPRESENTATION:
                    return tag == PIXEL_REPRESENTATION and any(bytes(data[start : start + min(length, 2)]))
                nested = nested_encoding(vr, encoding)
                position = skip_undefined(data, start, nested) if length == UNDEFINED else start + length
        except BadDataSet:
            return False  # The reading itself comes there, and says what is wrong.
        return False
