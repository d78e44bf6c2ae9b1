"""Matching keys that the index does not hold, compared with headers (DICOM JSON Model) instead (PS3.4 C.2.2.2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from osteon.dicom.attributes import element_text
from osteon.dicom.compare import holds
from osteon.dicom.keys import tag_of, vr_of_tag
from osteon.dicom.moments import datetime_bounds
from osteon.dicom.query import Condition, Matching, OneOf, Single, Wildcard
from osteon.errors import Invalid
from osteon.index.values import date_key, text_key, time_key

Header = Mapping[str, Any]
Normal = Callable[[str], str]


class HeaderKey:
    """One key. Text compares without case unless told; names always do."""

    def __init__(self, condition: Condition, *, case_sensitive: bool) -> None:
        """Prepare the comparison."""
        self._tags = [tag_of(name) for name in condition.path]
        vr = vr_of_tag(self._tags[-1])
        folds = vr == "PN" or not case_sensitive
        self._normal: Normal = _NORMAL.get(vr, text_key if folds else str.strip)
        self._matching = _mapped(condition.matching, self._normal)

    def accepts(self, header: Header) -> bool:
        """Whether a header matches; any item of a sequence suffices."""
        found = list(_elements(header, self._tags)) or [{}]
        return any(holds(self._matching, self._text(element)) for element in found)

    def _text(self, element: Mapping[str, Any]) -> str:
        return "\\".join(self._normal(value) for value in element_text(element).split("\\"))


def _elements(header: Header, tags: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    element = header.get(tags[0])
    if element is None:
        return
    if len(tags) == 1:
        yield element
        return
    for item in element.get("Value", ()):
        yield from _elements(item or {}, tags[1:])


def _mapped(matching: Matching, normal: Normal) -> Matching:
    match matching:
        case Single(value):
            return Single(normal(value))
        case OneOf(values):
            return OneOf(tuple(map(normal, values)))
        case Wildcard(pattern):
            return Wildcard(normal(pattern))
        case _:
            return matching


def _date(text: str) -> str:
    return date_key(text) or text


def _time(text: str) -> str:
    return time_key(text) or text


def _moment(text: str) -> str:
    try:
        return datetime_bounds(text)[0] or text
    except Invalid:
        return text


def _decimal(text: str) -> str:
    try:
        return str(float(text))
    except ValueError:
        return text


# Keys of dates and times come normalised already, and stay as they are.
_NORMAL: Final[dict[str, Normal]] = {
    "DA": _date, "TM": _time, "DT": _moment, "DS": _decimal, "FL": _decimal, "FD": _decimal,
    "UI": str.strip,
}  # fmt: skip
