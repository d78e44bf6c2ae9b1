"""The content of a structured report, in the order in which it is read (PS3.3 C.17.3).

Whatever the data set holds, there are at most 20,000 content items and a million characters.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from osteon.dicom.attributes import element_text

DataSet = Mapping[str, Any]

MAX_ITEMS: Final = 20_000
MAX_CHARACTERS: Final = 1 << 20
_MAX_NUMBERS: Final = 24
"""Coordinates of one item that are shown."""
_CONTENT: Final = "0040A730"
_CONCEPT: Final = "0040A043"
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACES: Final = re.compile(r"\r\n?")


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One content item: its position, as in Referenced Content Item Identifier (`1.2.3`), and its text.

    `refers_to` is the position of another item, which this one only names (by-reference relationship).
    """

    position: str
    depth: int
    value_type: str
    name: str
    text: str
    refers_to: str = ""


@dataclass(frozen=True, slots=True)
class StructuredReport:
    """A report: title, facts about patient and document as (label, text), and its items without the root."""

    title: str
    facts: tuple[tuple[str, str], ...]
    items: tuple[ContentItem, ...]
    omitted: bool
    """There are more items, or longer texts, than are shown."""


def read_report(header: DataSet) -> StructuredReport:
    """Read a report out of its header in the DICOM JSON Model."""
    title = _name(header) or "Structured report"
    facts = [(label, _readable(header, tag)) for label, tag in _FACTS]
    facts += [("Verified by", text) for observer in _items(header, "0040A073") if (text := _observer(observer))]
    items: list[ContentItem] = []
    left = MAX_CHARACTERS
    omitted = False
    for item in _walk(header):
        if omitted := len(items) == MAX_ITEMS or left <= 0:
            break
        items.append(replace(item, name=item.name[:left], text=item.text[:left]))
        omitted = len(item.text) > left
        left -= len(item.name) + len(item.text)
    return StructuredReport(title, tuple((label, text) for label, text in facts if text), tuple(items), omitted)


def _walk(root: DataSet) -> Iterator[ContentItem]:
    """Yield the items below the root, parents first; without recursion, as depth is the sender's choice."""
    waiting = [iter(_numbered(root, "1"))]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
            continue
        position, item = found
        value_type, target = _text(item, "0040A040").upper(), _text(item, "0040DB73").replace("\\", ".")
        yield ContentItem(
            position,
            len(waiting),
            value_type,
            _name(item),
            _VALUES.get(value_type, _no_text)(item),
            target if re.fullmatch(r"[0-9.]{1,400}", target) else "",
        )
        waiting.append(iter(_numbered(item, position)))


def _numbered(item: DataSet, position: str) -> list[tuple[str, DataSet]]:
    return [(f"{position}.{number}", below) for number, below in enumerate(_items(item, _CONTENT), 1)]


def _items(data_set: DataSet, tag: str) -> list[DataSet]:
    """Return the items of a sequence; an element of another VR has none."""
    return [item for item in data_set.get(tag, {}).get("Value", ()) if isinstance(item, dict)]


def _clean(text: str) -> str:
    """Return text with one kind of line end and without control characters."""
    return _CONTROLS.sub("\ufffd", _SPACES.sub("\n", text)).strip()


def _text(data_set: DataSet, tag: str) -> str:
    element = data_set.get(tag, {})
    if element.get("vr") == "SQ":
        return ""
    if "BulkDataURI" in element:
        return "(too long to be shown)"
    return _clean(element_text(element))


def _readable(data_set: DataSet, tag: str) -> str:
    """Return a value as a person reads it: dates, times and names are spelled out."""
    text, vr = _text(data_set, tag), data_set.get(tag, {}).get("vr")
    if vr == "PN":
        family, _, rest = text.split("=")[0].partition("^")
        return ", ".join(filter(None, (family.strip(), " ".join(rest.replace("^", " ").split()))))
    if vr in ("DA", "DT"):
        text = re.sub(r"^(\d{4})(\d\d)(\d\d)", r"\1-\2-\3 ", text)
        return re.sub(r" (\d\d)(\d\d)(\d\d)?", _clock, text).strip()
    return re.sub(r"^(\d\d)(\d\d)(\d\d)?", _clock, text) if vr == "TM" else text


def _clock(found: re.Match[str]) -> str:
    space = " " if found[0].startswith(" ") else ""
    return space + ":".join(filter(None, found.groups()))


def _name(item: DataSet) -> str:
    return next((_meaning(code) for code in _items(item, _CONCEPT)), "")


def _meaning(code: DataSet) -> str:
    """Return the meaning of a code, else the code itself: short, long, or URN (PS3.3 8.8)."""
    return next((text for tag in ("00080104", "00080100", "00080119", "00080120") if (text := _text(code, tag))), "")


def _code(item: DataSet) -> str:
    for code in _items(item, "0040A168"):
        value = next((text for tag in ("00080100", "00080119", "00080120") if (text := _text(code, tag))), "")
        scheme = _text(code, "00080102")
        source = ", ".join(filter(None, (value, scheme)))
        return f"{_meaning(code)} ({source})" if source and _meaning(code) != value else _meaning(code)
    return ""


def _number(item: DataSet) -> str:
    for measured in _items(item, "0040A300"):
        units = next((_meaning(code) for code in _items(measured, "004008EA")), "")
        return " ".join(filter(None, (_text(measured, "0040A30A"), units)))
    return next((_meaning(code) for code in _items(item, "0040A301")), "")


def _references(item: DataSet) -> str:
    """Name the referenced instances, with the frames, segments or channels of each."""
    found = []
    for reference in _items(item, "00081199"):
        parts = [f"{label} {_text(reference, tag)}" for label, tag in _PARTS if _text(reference, tag)]
        found.append("; ".join((f"instance {_text(reference, '00081155')}", *parts)))
    return "\n".join(found)


def _coordinates(item: DataSet) -> str:
    """Name the shape, and the first of its coordinates or times."""
    kind = _text(item, "00700023") or _text(item, "0040A130")
    for tag in ("00700022", "0040A132", "0040A138", "0040A13A"):
        values = item.get(tag, {}).get("Value", ())
        if values:
            more = f" … ({len(values)} values)" if len(values) > _MAX_NUMBERS else ""
            return f"{kind} {', '.join(_clean(str(value)) for value in values[:_MAX_NUMBERS])}{more}"
        if text := _text(item, tag):
            return f"{kind} {text}"
    return kind


def _observer(observer: DataSet) -> str:
    """Return who verified the document, for which organization, and when (PS3.3 C.17.2)."""
    parts = (_readable(observer, "0040A075"), _text(observer, "0040A027"), _readable(observer, "0040A030"))
    return ", ".join(filter(None, parts))


def _no_text(_: DataSet) -> str:
    return ""


_PARTS: Final = (("frames", "00081160"), ("segments", "0062000B"), ("channels", "0040A0B0"))
_VALUES: Final = {
    "TEXT": lambda item: _text(item, "0040A160"),
    "NUM": _number,
    "CODE": _code,
    "DATETIME": lambda item: _readable(item, "0040A120"),
    "DATE": lambda item: _readable(item, "0040A121"),
    "TIME": lambda item: _readable(item, "0040A122"),
    "PNAME": lambda item: _readable(item, "0040A123"),
    "UIDREF": lambda item: _text(item, "0040A124"),
    "COMPOSITE": _references,
    "IMAGE": _references,
    "WAVEFORM": _references,
    "SCOORD": _coordinates,
    "SCOORD3D": _coordinates,
    "TCOORD": _coordinates,
}
"""Value type → its value as text (PS3.3 Table C.17.3-7)."""
_FACTS: Final = (
    ("Patient", "00100010"), ("Patient ID", "00100020"), ("Birth date", "00100030"), ("Sex", "00100040"),
    ("Study", "00081030"), ("Study date", "00080020"), ("Accession number", "00080050"),
    ("Referring physician", "00080090"), ("Institution", "00080080"), ("Content date", "00080023"),
    ("Content time", "00080033"), ("Completion", "0040A491"), ("Verification", "0040A493"),
)  # fmt: skip
