"""DICOM JSON → data set bytes (PS3.5 chapter 7), for the Identifiers of C-FIND responses and for single elements.

Written by hand because an answer is made for each of 10,000 matches: pydicom takes ten times as long.
"""

import base64
import struct
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from osteon.byte_caches import cached
from osteon.dicom.text_encoder import DEFAULT, UNICODE, CharacterNotEncodable, TextEncoder
from osteon.dicom.uids import transfer_syntax

Elements = Mapping[str, Mapping[str, Any]]
"""Tag in eight hexadecimal digits → DICOM JSON element, tags ascending."""

_CHARSET_TAG: Final = "00080005"
_LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""32-bit length in explicit VR (PS3.5 Table 7.1-1)."""
TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Affected by Specific Character Set (PS3.5 6.1.2.3)."""
NUMBER_FORMATS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_WORDS: Final = {"OW": "H", "OL": "I", "OF": "I", "OV": "Q", "OD": "Q"}
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_MAX_DEPTH: Final = 100
"""Sequences nested deeper come empty: real ones have less than ten levels."""


class DatasetEncoder:
    """Encodes data sets in one transfer syntax."""

    def __init__(self, transfer_syntax_uid: str, preferred: TextEncoder = UNICODE) -> None:
        """`preferred` is the character set of text that is not ASCII; what it lacks is written in UTF-8.

        Raises `UnknownTransferSyntax`.
        """
        syntax = transfer_syntax(transfer_syntax_uid)
        self._implicit = not syntax.explicit
        self._deflated = syntax.deflated
        self._order = "<" if syntax.little_endian else ">"
        self._choices = (DEFAULT, UNICODE) if preferred in (DEFAULT, UNICODE) else (DEFAULT, preferred, UNICODE)
        self._tag = partial(_packed_tag, self._order)

    def encode(self, elements: Elements) -> bytes:
        """Encode a data set, setting Specific Character Set (0008,0005) to what its text needs."""
        for repertoire in self._choices[:-1]:
            try:
                return self._finish(self._dataset(_with_charset(elements, repertoire), repertoire, 0))
            except CharacterNotEncodable:
                continue
        return self._finish(self._dataset(_with_charset(elements, UNICODE), UNICODE, 0))

    def encode_in(self, elements: Elements, repertoire: TextEncoder) -> bytes:
        """Encode elements in a character set that is named elsewhere; raises `CharacterNotEncodable`."""
        return self._dataset(elements, repertoire, 0)

    def leaf(self, tag: str, element: Mapping[str, Any]) -> bytes:
        """Encode one element that is not a sequence, text in UTF-8; raises `ValueError` when its VR cannot hold it."""
        vr, values = element["vr"], element.get("Value")
        if values and vr not in TEXT_VRS and not all(str(value).isascii() for value in values):
            raise ValueError("characters beyond ASCII")
        try:
            value = self._value(element, UNICODE, 0) if values is None or vr in TEXT_VRS else self._plain(vr, values)
        except (struct.error, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from None
        return self._element(tag, vr, value)

    def _finish(self, encoded: bytes) -> bytes:
        if not self._deflated:
            return encoded
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        deflated = deflater.compress(encoded) + deflater.flush()
        return deflated + b"\0" * (len(deflated) % 2)

    def _dataset(self, elements: Elements, repertoire: TextEncoder, depth: int) -> bytes:
        return b"".join([self._element(tag, e["vr"], self._value(e, repertoire, depth)) for tag, e in elements.items()])

    def _element(self, tag: str, vr: str, value: bytes) -> bytes:
        length = len(value)
        if self._implicit:
            return self._tag(tag) + struct.pack("<I", length) + value
        if vr not in _LONG_VRS and length < 0xFFFF:
            return self._tag(tag) + vr.encode() + struct.pack(self._order + "H", length) + value
        name = vr if vr in _LONG_VRS else "UN"  # a value too long for its VR's 16-bit length: PS3.5 6.2.2 note
        return self._tag(tag) + name.encode() + b"\0\0" + struct.pack(self._order + "I", length) + value

    def _value(self, element: Mapping[str, Any], repertoire: TextEncoder, depth: int) -> bytes:
        vr: str = element["vr"]
        values = element.get("Value")
        if values is None:
            return self._binary(vr, element.get("InlineBinary", ""))
        if vr in TEXT_VRS:
            text = "\\".join([_text(value) for value in values])
            encoded = repertoire.encode(text, is_name=vr == "PN")
            return encoded + b" " if len(encoded) & 1 else encoded
        if vr == "SQ":
            return self._items(values, repertoire, depth)
        if vr in ("DS", "IS") and "Text" in element:
            values = [element["Text"]]  # as it is in the file
        try:
            return self._plain(vr, values)
        except (struct.error, ValueError, TypeError):
            return b""  # the header keeps what a modality wrote in place of a number; no encoding has room for it

    def _plain(self, vr: str, values: Sequence[Any]) -> bytes:
        if vr in NUMBER_FORMATS:
            convert: Callable[[Any], float] = float if vr in ("FL", "FD") else int
            return struct.pack(f"{self._order}{len(values)}{NUMBER_FORMATS[vr]}", *map(convert, values))
        if vr == "AT":
            return b"".join(self._tag(value) for value in values)
        encoded = "\\".join([_text(value) for value in values]).encode("ascii", "replace")
        if len(encoded) & 1:
            encoded += b"\0" if vr == "UI" else b" "
        return encoded

    def _binary(self, vr: str, inline: str) -> bytes:
        data = base64.b64decode(inline)
        if self._order == ">" and vr in _WORDS:
            words = array(_WORDS[vr], data)
            words.byteswap()
            return words.tobytes()
        return data + b"\0" * (len(data) % 2)

    def _items(self, items: Sequence[Elements | None], repertoire: TextEncoder, depth: int) -> bytes:
        if depth >= _MAX_DEPTH:
            return b""
        encoded = [self._dataset(item or {}, repertoire, depth + 1) for item in items]
        start = self._tag("FFFEE000")
        return b"".join([start + struct.pack(self._order + "I", len(item)) + item for item in encoded])


def _with_charset(elements: Elements, repertoire: TextEncoder) -> Elements:
    if not repertoire.values:
        if _CHARSET_TAG not in elements:
            return elements
        return {tag: element for tag, element in elements.items() if tag != _CHARSET_TAG}
    named = {**elements, _CHARSET_TAG: {"vr": "CS", "Value": list(repertoire.values)}}
    return {tag: named[tag] for tag in sorted(named)}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict):
        return "=".join([value.get(group, "") for group in _GROUPS]).rstrip("=")
    if isinstance(value, float):
        return _decimal(value)
    return str(value)


def _decimal(value: float) -> str:
    """Write a number as DS, in at most 16 characters (PS3.5 6.2)."""
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = repr(value)
    digits = 16
    while len(text) > 16:
        digits -= 1
        text = f"{value:.{digits}g}"
    return text


@cached("packed_tags", entries=8192, entry_bytes=300)
def _packed_tag(order: str, tag: str) -> bytes:
    return struct.pack(order + "HH", int(tag[:4], 16), int(tag[4:], 16))
