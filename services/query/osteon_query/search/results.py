"""Matches of the index as results in the DICOM JSON Model (PS3.18 F.2), for QIDO-RS and C-FIND alike.

What the index holds comes from it. Only when more is requested is the header of one instance read: the
instance itself at IMAGE level, otherwise a representative of the patient, study or series.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from osteon.archive.ports import InstanceLocator
from osteon.archive.resources import Location, Match
from osteon.dicom.attribute_names import keyword_of, tag_of, vr_of_tag
from osteon.dicom.attributes import COMPUTED, HELD, LEVEL_OF, REQUEST_ATTRIBUTES, element_text, is_below
from osteon.dicom.json_values import json_values
from osteon.dicom.models import Level
from osteon.dicom.private_blocks import creators_of, is_private, locate
from osteon.dicom.query import MatchingKey
from osteon.dicom.value_matching import matches
from osteon_query.packs.sidecars import Sidecars, parse_header
from osteon_query.search.return_keys import REQUEST_TAGS, ReturnKeys

JsonElement = dict[str, Any]
DicomJson = dict[str, JsonElement]
"""Tag → element, tags ascending."""

Source = Callable[[Match], JsonElement]

_REQUESTS: Final = tag_of("RequestAttributesSequence")
_STEP, _PROCEDURE = (tag_of(keyword) for keyword in REQUEST_ATTRIBUTES)
_NUMBERS: Final = frozenset({"DS", "IS"})
"""VRs of numbers that data sets have as text: C-FIND gives that text."""
_BATCH: Final = 200
"""Matches whose headers are in memory at the same time."""
_BATCH_ELEMENTS: Final = 20_000
"""Elements that are written at a time: a search that nobody waits for any more ends between two batches."""


def matches_at_once(keys: ReturnKeys) -> int:
    """Return of how many matches the results are written at a time."""
    elements = len(keys.required) + len(keys.optional) + sum(map(len, keys.items.values()))
    return max(1, min(_BATCH, _BATCH_ELEMENTS // max(1, elements)))


async def build_results(
    matches: Sequence[Match],
    keys: ReturnKeys,
    *,
    index: InstanceLocator,
    sidecars: Sidecars,
    constants: Mapping[str, JsonElement] | None = None,
) -> list[DicomJson]:
    """Return the result of each match, in their order.

    `constants` (tag → element) are the same in all results, requested or not. A sidecar that is missing or broken
    is logged and leaves its attributes without a value. Raises `DatabaseUnavailable` and `ObjectsUnavailable`.
    """
    if not matches:
        return []
    plan = ResultPlan(matches[0].level, keys, constants)
    found: list[DicomJson] = []
    step = matches_at_once(keys)
    for batch in (matches[i : i + step] for i in range(0, len(matches), step)):
        headers = await _headers(batch, index, sidecars) if plan.needs_headers else [b""] * len(batch)
        found += await asyncio.to_thread(_write_all, plan, batch, headers)
    return found


def _write_all(plan: "ResultPlan", matches: Sequence[Match], headers: Sequence[bytes]) -> list[DicomJson]:
    # One parsed header at a time: 200 of them alive at once take four times as long, for the garbage collector.
    return [plan.write(m, parse_header(raw) if raw else None) for m, raw in zip(matches, headers, strict=True)]


class ResultPlan:
    """How to write the result of each match of one search: compiled once, used for every match."""

    def __init__(self, level: Level, keys: ReturnKeys, constants: Mapping[str, JsonElement] | None = None) -> None:
        """Find a source for every requested attribute."""
        self._keys = keys
        self._sources: list[tuple[str, Source]] = []
        self._from_header: list[str] = []
        self._private: list[str] = []
        self._constants = dict(constants or {})
        self._whole_header = keys.everything and level is Level.IMAGE
        for tag in sorted((keys.required | keys.optional) - set(self._constants)):
            source = _source(level, tag, keys.items.get(tag))
            if source is not None:
                self._sources.append((tag, source))
            elif is_private(tag):
                self._private.append(tag)
            elif not is_below(keyword_of(tag), level):  # of lower levels one instance cannot represent all
                self._from_header.append(tag)
        self._item_conditions: dict[str, list[MatchingKey]] = {}
        for condition in keys.item_conditions:
            self._item_conditions.setdefault(tag_of(condition.path[0]), []).append(condition)
        self._empty = {tag: {"vr": vr_of_tag(tag)} for tag in keys.required}

    @property
    def needs_headers(self) -> bool:
        """Whether an attribute is requested that the index does not hold."""
        return bool(self._from_header or self._private) or self._whole_header

    def write(self, match: Match, header: Mapping[str, Any] | None = None) -> DicomJson:
        """Return one result in the DICOM JSON Model."""
        found: DicomJson = {}
        if header is not None:
            found = self._of_header(header)
        for tag, source in self._sources:
            element = source(match)
            if "Value" in element:
                found[tag] = element
        for tag, conditions in self._item_conditions.items():
            if tag in found:
                found[tag] = _matching_items(found[tag], conditions)
        found.update(self._constants)
        for tag, empty in self._empty.items():
            found.setdefault(tag, empty)
        return {tag: found[tag] for tag in sorted(found)}

    def _of_header(self, header: Mapping[str, Any]) -> DicomJson:
        tags = header if self._whole_header else self._from_header
        if self._private and not self._whole_header:
            tags = [*tags, *locate(self._private, self._keys.creators, creators_of(header))]
        found = {tag: header[tag] for tag in tags if tag in header and "BulkDataURI" not in header[tag]}
        for tag, kept in self._keys.items.items():
            if kept and tag in found:
                found[tag] = _narrow(found[tag], kept)
        return found


def _narrow(element: JsonElement, kept: frozenset[str]) -> JsonElement:
    """Leave only the requested attributes in a sequence's items (PS3.4 C.2.2.2.6)."""
    items = [
        {tag: item.get(tag, {"vr": vr_of_tag(tag)}) for tag in sorted(kept)}
        for item in element.get("Value", ())
        if item
    ]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _matching_items(element: JsonElement, conditions: Sequence[MatchingKey]) -> JsonElement:
    """Leave only the items of a sequence that match all of its keys (PS3.4 C.2.2.2.6)."""
    tagged = [(tag_of(condition.path[1]), condition.matching) for condition in conditions]
    items = [
        item
        for item in element.get("Value", ())
        if item and all(matches(matching, element_text(item.get(tag, {}))) for tag, matching in tagged)
    ]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


async def _headers(matches: Sequence[Match], index: InstanceLocator, sidecars: Sidecars) -> list[bytes]:
    """Return the header of each match as JSON, empty where it is missing."""
    locations = await locations_of(index, matches)
    lines = iter(await sidecars.lines_if_readable([location for location in locations if location is not None]))
    found = [None if location is None else next(lines) for location in locations]
    return [b"" if line is None else line.header.json for line in found]


async def locations_of(index: InstanceLocator, matches: Sequence[Match]) -> list[Location | None]:
    """Return where an instance of each match is; all are of one level. None: it was deleted since the search."""
    if not matches or matches[0].instance is not None:
        return [match.instance.location if match.instance else None for match in matches]
    found = await index.representatives(matches[0].level, [match.public_id for match in matches])
    return [found.get(match.public_id) for match in matches]


def _source(level: Level, tag: str, items: frozenset[str] | None) -> Source | None:
    keyword = keyword_of(tag)
    if tag == _REQUESTS:
        held = items is not None and items <= REQUEST_TAGS
        return _requests if held and not Level.SERIES.is_below(level) else None
    at = LEVEL_OF.get(keyword)
    if at is None:
        return _FIXED.get(keyword)
    if at.is_below(level):
        return None
    return _COMPUTED[keyword] if keyword in _COMPUTED else _held_source(level, keyword)


def held_text(level: Level, keyword: str) -> Callable[[Match], str]:
    """Return what takes the text of an attribute out of a match at `level`, empty when it has no value."""
    at = LEVEL_OF[keyword]
    attributes = _ATTRIBUTES[at] if at is not Level.PATIENT or level is Level.PATIENT else _patient_of_study
    return lambda match: attributes(match).get(keyword, "")


def _held_source(level: Level, keyword: str) -> Source:
    vr = vr_of_tag(tag_of(keyword))
    text_of = held_text(level, keyword)

    def source(match: Match) -> JsonElement:
        text = text_of(match)
        if not text:
            return {"vr": vr}
        element: JsonElement = {"vr": vr, "Value": json_values(vr, text)}
        if vr in _NUMBERS and element_text(element) != text:
            element["Text"] = text
        return element

    return source


def _patient_of_study(match: Match) -> Mapping[str, str]:
    assert match.study is not None
    return match.study.patient_attributes


def _attributes_of_study(match: Match) -> Mapping[str, str]:
    assert match.study is not None
    return match.study.attributes


def _attributes_of_series(match: Match) -> Mapping[str, str]:
    assert match.series is not None
    return match.series.attributes


def _attributes_of_instance(match: Match) -> Mapping[str, str]:
    assert match.instance is not None
    return match.instance.attributes


_ATTRIBUTES: Final[dict[Level, Callable[[Match], Mapping[str, str]]]] = {
    Level.PATIENT: lambda match: match.patient.attributes,
    Level.STUDY: _attributes_of_study,
    Level.SERIES: _attributes_of_series,
    Level.IMAGE: _attributes_of_instance,
}
assert set(_ATTRIBUTES) == set(HELD)


def _requests(match: Match) -> JsonElement:
    assert match.series is not None
    return request_sequence(match.series.requests)


def request_sequence(requests: Sequence[tuple[str, str]]) -> JsonElement:
    """Return Request Attributes Sequence (0040,0275) of a series from what the index holds of it."""
    items = [
        {
            _STEP: {"vr": "SH", "Value": [step]} if step else {"vr": "SH"},
            _PROCEDURE: {"vr": "SH", "Value": [procedure]} if procedure else {"vr": "SH"},
        }
        for step, procedure in requests
    ]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _strings(vr: str, values: Sequence[str]) -> JsonElement:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def _study_strings(vr: str, name: str) -> Source:
    return lambda match: _strings(vr, getattr(match.study, name))


def _count(resource: str, name: str) -> Source:
    return lambda match: {"vr": "IS", "Value": [getattr(getattr(match, resource), name)]}


def _transfer_syntax(match: Match) -> JsonElement:
    assert match.instance is not None
    return _strings("UI", [match.instance.location.transfer_syntax_uid])


_COMPUTED: Final[dict[str, Source]] = {
    "NumberOfPatientRelatedStudies": _count("patient", "studies"),
    "NumberOfPatientRelatedSeries": _count("patient", "series"),
    "NumberOfPatientRelatedInstances": _count("patient", "instances"),
    "ModalitiesInStudy": _study_strings("CS", "modalities"),
    "SOPClassesInStudy": _study_strings("UI", "sop_classes"),
    "NumberOfStudyRelatedSeries": _count("study", "series"),
    "NumberOfStudyRelatedInstances": _count("study", "instances"),
    "NumberOfSeriesRelatedInstances": _count("series", "instances"),
    "AvailableTransferSyntaxUID": _transfer_syntax,
}
assert set(_COMPUTED) == {keyword for keywords in COMPUTED.values() for keyword in keywords}


def _without_value(vr: str) -> Source:
    return lambda _: {"vr": vr}


_FIXED: Final[dict[str, Source]] = {
    # The values in a data set were true elsewhere; callers give these as constants.
    "RetrieveURL": _without_value("UR"),
    "RetrieveAETitle": _without_value("AE"),
    "QueryRetrieveLevel": _without_value("CS"),
    "InstanceAvailability": lambda _: {"vr": "CS", "Value": ["ONLINE"]},
    # DICOM JSON is UTF-8; C-FIND's encoder sets what it used.
    "SpecificCharacterSet": lambda _: {"vr": "CS", "Value": ["ISO_IR 192"]},
}
