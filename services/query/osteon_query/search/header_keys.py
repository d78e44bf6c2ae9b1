"""Matching keys that the index does not hold, compared with headers (DICOM JSON Model) instead (PS3.4 C.2.2.2)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from osteon.dicom.attribute_names import tag_of, vr_of_tag
from osteon.dicom.attributes import element_text
from osteon.dicom.datetime_bounds import datetime_bounds
from osteon.dicom.query import Matching, MatchingKey, OneOf, Single, Wildcard
from osteon.dicom.value_matching import matches
from osteon.errors import Invalid
from osteon.index.values import date_key, text_key, time_key

Header = Mapping[str, Any]
Normal = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Key:
    """One key: the tags of its path, and how its values are compared."""

    tags: tuple[str, ...]
    matching: Matching
    normal: Normal

    def holds(self, element: Mapping[str, Any]) -> bool:
        text = "\\".join(self.normal(value) for value in element_text(element).split("\\"))
        return matches(self.matching, text)

    def inner(self) -> "_Key":
        return replace(self, tags=self.tags[1:])


class HeaderKeys:
    """Keys that must all match. Text compares without case unless told; names always do."""

    def __init__(self, conditions: Iterable[MatchingKey], *, case_sensitive: bool) -> None:
        """Prepare the comparison."""
        self._keys = [_key(condition, case_sensitive) for condition in conditions]

    def accepts(self, header: Header) -> bool:
        """Whether a header matches; one item of a sequence must match all keys in it (PS3.4 C.2.2.2.6)."""
        return _accept(self._keys, header)


def _key(condition: MatchingKey, case_sensitive: bool) -> _Key:
    tags = tuple(tag_of(name) for name in condition.path)
    vr = vr_of_tag(tags[-1])
    folds = vr == "PN" or not case_sensitive
    normal = _NORMAL.get(vr, text_key if folds else str.strip)
    return _Key(tags, _mapped(condition.matching, normal), normal)


def _accept(keys: Sequence[_Key], header: Header) -> bool:
    within: dict[str, list[_Key]] = {}
    for key in keys:
        if len(key.tags) > 1:
            within.setdefault(key.tags[0], []).append(key.inner())
        elif not key.holds(header.get(key.tags[0], {})):
            return False
    return all(any(_accept(inner, item) for item in _items(header, tag)) for tag, inner in within.items())


def _items(header: Header, tag: str) -> list[Header]:
    """Return the items of a sequence; an absent one is as an empty item: keys for empty values match."""
    items = header.get(tag, {}).get("Value") or [{}]
    return [item for item in items if isinstance(item, Mapping)]


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
