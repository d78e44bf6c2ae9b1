"""Values of elements as members of a DICOM JSON element (PS3.18 F.2.2 to F.2.7)."""

import re
import struct
from binascii import b2a_base64
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import orjson

from osteon.dicom.attributes import element_text
from osteon.dicom.charset import DEFAULT, CharacterSet
from osteon.dicom.vr import BINARY

NUMBERS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
"""VR → struct format character of one value."""

_WORD: Final = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_DEFAULT_REPERTOIRE: Final = frozenset({"AE", "AS", "CS", "DA", "DT", "TM", "UI"})
_TEXTS: Final = frozenset({"LO", "SH", "UC"})
_TEXT_OF_NUMBERS: Final = frozenset({"DS", "IS"})
_STRIPPED: Final = _DEFAULT_REPERTOIRE | _TEXTS
_LONG_TEXTS: Final = frozenset({"LT", "ST", "UT"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MOST_DIGITS: Final = 64
"""Characters of a decimal string that are read as a number; the standard allows 16."""

Values = tuple[list[Any], str]
"""Values for JSON and what was wrong with them (empty: nothing)."""


def json_member(vr: str, raw: bytes, charset: CharacterSet, *, little_endian: bool) -> tuple[str, bytes, str]:
    """Return VR, the member that holds the value (empty for an empty value), and what was wrong (empty: nothing).

    A value that its VR cannot hold is kept: text in place of a number as a string, a wrong number of bytes as UN. The
    text of numbers, and of several values with spaces between them, is kept where the values do not show it: see
    `text_member`.
    """
    if not raw:
        return vr, b"", ""
    if vr in BINARY:
        return vr, _inline(_little(vr, raw, little_endian)), ""
    if vr in NUMBERS:
        size = struct.calcsize(f"<{NUMBERS[vr]}")
        if len(raw) % size:
            return "UN", _inline(raw), f"{len(raw)} bytes are not a multiple of the {size} of a {vr} value"
        values, problem = _numbers(vr, raw, "<" if little_endian else ">")
    elif vr == "AT":
        if len(raw) % 4:
            return "UN", _inline(raw), f"{len(raw)} bytes are not a multiple of the 4 of an AT value"
        values, problem = _tags(raw, "<" if little_endian else ">"), ""
    else:
        values, problem = _CONVERTERS[vr](raw, charset)
    if not values:
        return vr, b"", problem
    member = b'"Value":' + orjson.dumps(values)
    if vr in _TEXT_OF_NUMBERS or (vr in _STRIPPED and (b" \\" in raw or b"\\ " in raw)):
        member += text_member(values, charset.decode(raw)[0])
    return vr, member, problem


def text_member(values: list[Any], text: str) -> bytes:
    """Return the member `Text` with a value as it is in the file (`27.000000`, `0008`), if `values` do not show that.

    It is not part of the DICOM JSON Model: `osteon.dicom.json_values.without_texts` leaves it out.
    """
    text = text.replace("\0", "").strip(" ")
    return b',"Text":' + orjson.dumps(text) if text != element_text({"Value": values}) else b""


def lut_descriptor(raw: bytes, *, little_endian: bool) -> bytes:
    """Return the member for a LUT descriptor with VR SS: only its second value can be negative (PS3.3 C.11.1.1.1)."""
    order = "<" if little_endian else ">"
    return b'"Value":' + orjson.dumps(struct.unpack(f"{order}HhH", raw))


def _inline(raw: bytes) -> bytes:
    return b'"InlineBinary":"' + b2a_base64(raw, newline=False) + b'"'


def _little(vr: str, raw: bytes, little_endian: bool) -> bytes:
    """Binary values in JSON are little endian (PS3.18 F.2.7)."""
    size = _WORD.get(vr, 1)
    if little_endian or size == 1 or len(raw) % size:
        return raw
    swapped = bytearray(len(raw))
    for i in range(size):
        swapped[i::size] = raw[size - 1 - i :: size]
    return bytes(swapped)


def _numbers(vr: str, raw: bytes, order: str) -> Values:
    code = NUMBERS[vr]
    values: list[Any] = list(struct.unpack(f"{order}{len(raw) // struct.calcsize(order + code)}{code}", raw))
    if code in "fd" and not all(map(isfinite, values)):
        values = [value if isfinite(value) else _NOT_FINITE[str(value)] for value in values]
    return values, ""


_NOT_FINITE: Final = {"nan": "NaN", "inf": "inf", "-inf": "-inf"}
"""JSON has no numbers for these; null would say that the value is absent."""


def _tags(raw: bytes, order: str) -> list[str]:
    halves = struct.unpack(f"{order}{len(raw) // 2}H", raw)
    return [f"{group:04X}{element:04X}" for group, element in zip(halves[::2], halves[1::2], strict=True)]


def _strings(raw: bytes, _: CharacterSet) -> Values:
    text, problem = DEFAULT.decode(raw)
    return _values([part.strip(" \0") for part in text.split("\\")], problem)


def _texts(raw: bytes, charset: CharacterSet) -> Values:
    text, problem = charset.decode(raw)
    return _values([part.rstrip(" \0") for part in text.split("\\")], problem)


def _long_text(raw: bytes, charset: CharacterSet) -> Values:
    text, problem = charset.decode(raw)
    return _values([text.rstrip(" \0")], problem)


def _uri(raw: bytes, _: CharacterSet) -> Values:
    text, problem = DEFAULT.decode(raw)
    return _values([text.rstrip(" \0")], problem)


def _values(parts: list[str], problem: str) -> Values:
    """An empty value among others is null (PS3.18 F.2.5); a NUL within text is not a character of any repertoire."""
    if any("\0" in part for part in parts):
        parts, problem = [part.replace("\0", "") for part in parts], "NUL within text, left out"
    if len(parts) == 1 and not parts[0]:
        return [], problem
    return [part or None for part in parts], problem


def _names(raw: bytes, charset: CharacterSet) -> Values:
    text, problem = charset.decode(raw, name=True)
    parts, problem = _values([part.rstrip(" \0") for part in text.split("\\")], problem)
    return [part and _name(part) for part in parts], problem


def _name(text: str) -> dict[str, str] | None:
    groups = (group.rstrip(" ") for group in text.split("="))
    return {name: group for name, group in zip(_GROUPS, groups, strict=False) if group} or None


def _decimal_string(raw: bytes, _: CharacterSet) -> Values:
    parts = raw.decode("latin-1").strip(" \0").split("\\")
    if parts == [""]:
        return [], ""
    values = [_decimal(part.strip(" \0")) for part in parts]
    return values, _text_among(values)


def _integer_string(raw: bytes, charset: CharacterSet) -> Values:
    values, problem = _decimal_string(raw, charset)
    whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    if not problem and any(isinstance(value, float) for value in whole):
        problem = "a number with a fraction where a whole number is expected"
    return whole, problem


def _decimal(text: str) -> int | float | str | None:
    """A whole number stays one, so that nothing turns `5` into `5.0`; text that is not a number stays text."""
    if not text:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    if len(text) <= _MOST_DIGITS and _DECIMAL.fullmatch(text) and isfinite(number := float(text)):
        return number
    return text.replace("\0", "")


def _text_among(values: list[int | float | str | None]) -> str:
    text = next((value for value in values if isinstance(value, str)), "")
    return f"{text[:40]!r} is not a number" if text else ""


_CONVERTERS: Final[dict[str, Callable[[bytes, CharacterSet], Values]]] = {
    **dict.fromkeys(_DEFAULT_REPERTOIRE, _strings),
    **dict.fromkeys(_TEXTS, _texts),
    **dict.fromkeys(_LONG_TEXTS, _long_text),
    "UR": _uri,
    "PN": _names,
    "DS": _decimal_string,
    "IS": _integer_string,
}
