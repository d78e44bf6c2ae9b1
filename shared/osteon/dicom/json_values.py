r"""DICOM text as values of the DICOM JSON Model (PS3.18 F.2.3), and back to what is in the model only.

Text has `\` between values and `=` between the groups of a person name.
"""

import math
import re
from typing import Any, Final

_WHOLE: Final = frozenset({"IS", "US", "SS", "UL", "SL", "UV", "SV"})
_DECIMAL: Final = frozenset({"DS", "FL", "FD"})
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_TEXT: Final = re.compile(rb',"Text":"(?:[^"\\]|\\.)*"')


def without_texts(json: bytes) -> bytes:
    """Leave out what the header reader keeps beside numbers: their text as it is in the file.

    No JSON string can hold the member's unescaped quotes.
    """
    return _TEXT.sub(b"", json)


def json_values(vr: str, text: str) -> list[Any]:
    """Return the elements of `Value`: numbers where the text is one, PN objects, strings; None for an empty value."""
    if vr in _ONE_VALUE:
        return [text]
    if "\\" not in text:
        return [_json_value(vr, text)]
    return [_json_value(vr, value) for value in text.split("\\")]


def _json_value(vr: str, text: str) -> Any:
    if not text:
        return None
    if vr == "PN":
        return {group: part for group, part in zip(_GROUPS, text.split("="), strict=False) if part}
    if vr in _WHOLE or vr in _DECIMAL:
        return _number(vr, text)
    return text


def _number(vr: str, text: str) -> int | float | str:
    try:
        return int(text)
    except ValueError:
        if vr in _WHOLE:
            return text  # what a modality wrote instead of a number is better shown than dropped
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
