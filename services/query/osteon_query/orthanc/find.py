"""Orthanc REST: `/tools/find`, `/tools/count-resources` and `/tools/lookup`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Match
from osteon.contracts.user_data_names import WRITTEN_BY_JOBS, CodeNames, is_user_code
from osteon.dicom.attribute_names import attribute_path
from osteon.dicom.attributes import COMPUTED
from osteon.dicom.matching import condition
from osteon.dicom.query import (
    LAST_UPDATE,
    LabelFilter,
    LabelsConstraint,
    MatchingKey,
    MetadataKey,
    OneOf,
    Order,
    Search,
    Single,
    Wildcard,
)
from osteon.logging import get_logger
from osteon.user_data.limits import MAX_LABELS, check_label
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import json_object, small_body
from osteon_query.http.errors import BadBody, BadParameter
from osteon_query.http.json_response import JSON, json_response
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.resource_lists import View, json_array, json_list, requested_tags
from osteon_query.orthanc.resource_types import BY_LEVEL, STUDY, ResourceType, resource_type_named
from osteon_query.orthanc.response_content import content_parts
from osteon_query.orthanc.tag_formats import TagFormat
from osteon_query.orthanc.user_data import metadata_names
from osteon_query.search.conditions import SearchLimits, format_paths, is_matchable
from osteon_query.search.header_matching import HeaderKeys, check_candidates, pages_by_header

T = TypeVar("T")
log = get_logger(__name__)

router = APIRouter(prefix="/tools", tags=["Tools"])

_MAX_IDENTIFIER: Final = 1024
_COMPUTED: Final = frozenset(keyword for keywords in COMPUTED.values() for keyword in keywords)
_TYPE_NAMES: Final = {str: "text", bool: "true or false", dict: "an object", list: "an array"}
_NO_KEYS: Final[dict[str, Any]] = {}
_NO_ENTRIES: Final[list[Any]] = []
_OF_STUDY: Final = {"Modality": "ModalitiesInStudy", "SOPClassUID": "SOPClassesInStudy"}
_PARENTS: Final = ("ParentPatient", "ParentStudy", "ParentSeries")


@dataclass(frozen=True, slots=True)
class _Find:
    search: Search
    view: View
    total: int | None
    by_header: tuple[MatchingKey, ...] = ()
    """What the index does not hold."""


@router.post("/find")
async def find(request: Request, state: AppStateDep) -> Response:
    """Search by attributes (`Level`, `Query`, `Expand`, `OrderBy` …)."""
    parsed = _parse(await json_object(request), SearchLimits.from_settings(state.settings), metadata_names(state))
    if parsed.by_header:
        source = json_array(state, await _by_header(state, parsed, parsed.total), parsed.view)
    else:
        source = json_list(state, parsed.search, parsed.view, total=parsed.total)
    return await stream_response(request, source, {"Content-Type": JSON})


@router.post("/count-resources")
async def count(request: Request, state: AppStateDep) -> Response:
    """Count what a find would match: with `Limit` up to that number, so that a count of very many costs no more."""
    parsed = _parse(await json_object(request), SearchLimits.from_settings(state.settings), metadata_names(state))
    limit = parsed.total
    if parsed.by_header:
        found = sum([len(page) async for page in await _by_header(state, parsed, None)])
    else:
        found = await state.index.count(parsed.search, at_most=None if limit is None else limit + 1)
    if limit is None:
        return json_response({"Count": found})
    return json_response({"Count": min(found, limit), "Exact": found <= limit})


async def _by_header(state: AppState, parsed: _Find, total: int | None) -> AsyncGenerator[Sequence[Match], None]:
    names = f"Query: {format_paths(condition.path for condition in parsed.by_header)}"
    await check_candidates(state.index, parsed.search, names, state.limits.header_candidates, BadParameter)
    log.info("find reads headers", level=parsed.search.level.value, keys=names)
    keys = HeaderKeys(parsed.by_header, case_sensitive=parsed.search.case_sensitive)
    return pages_by_header(state.index, state.sidecars, parsed.search, keys, total=total)


@router.post("/lookup")
async def lookup(request: Request, state: AppStateDep) -> Response:
    """Find a Patient ID, Accession Number or UID, which is the whole body."""
    body = (await small_body(request)).decode("utf-8", "replace").strip()
    if not body or len(body) > _MAX_IDENTIFIER:
        raise BadBody(f"the body must be one identifier of 1 to {_MAX_IDENTIFIER} characters")
    found = await state.index.lookup(body)
    kinds = [(BY_LEVEL[level], public_id) for level, public_id in found]
    return json_response([{"ID": id, "Path": kind.path(id), "Type": kind.type} for kind, id in kinds])


def _parse(body: Mapping[str, Any], limits: SearchLimits, names: CodeNames) -> _Find:
    kind = resource_type_named(body.get("Level"))
    parents = [_field(body, name, "") for name in _PARENTS if name in body]
    if len(parents) > 1:
        raise BadParameter(f"{', '.join(_PARENTS)}: expected at most one")
    keys, tags = _field(body, "Query", _NO_KEYS), _field(body, "RequestedTags", _NO_ENTRIES)
    metadata = _field(body, "MetadataQuery", _NO_KEYS)
    limits.check(keys=len(keys) + len(tags) + len(metadata))
    conditions = _conditions({_of_level(kind, name): value for name, value in keys.items()}, limits)
    search = Search(
        level=kind.level,
        conditions=tuple(c for c in conditions if is_matchable(kind.level, c.path)),
        case_sensitive=_field(body, "CaseSensitive", False),
        parents=tuple(parents),
        labels=_labels(body),
        metadata=tuple(_metadata_key(names, name, value, limits) for name, value in metadata.items()),
        order=tuple(_order(entry, names) for entry in _field(body, "OrderBy", _NO_ENTRIES)),
        offset=_number(body, "Since"),
    )
    full, short = _field(body, "Full", False), _field(body, "Short", False)
    form = TagFormat.FULL if full else TagFormat.SHORT if short else TagFormat.SIMPLIFIED
    requested = requested_tags(map(str, tags))
    content = content_parts(_field(body, "ResponseContent", _NO_ENTRIES)) if "ResponseContent" in body else None
    view = View(_field(body, "Expand", False) or content is not None, requested, form, content)
    rest = tuple(c for c in conditions if not is_matchable(kind.level, c.path))
    if unknown := [c.path for c in rest if c.path[0] in _COMPUTED]:
        raise BadParameter(f"Query: {format_paths(unknown)} cannot be searched by at level {kind.type}")
    return _Find(search, view, _number(body, "Limit") or None, rest)


def _of_level(kind: ResourceType, name: str) -> str:
    """Return what the index holds of all series and instances of a study, where a key is about one of them."""
    path = attribute_path(name)
    return _OF_STUDY.get(path[0], name) if kind is STUDY and len(path) == 1 else name


def _labels(body: Mapping[str, Any]) -> LabelFilter | None:
    labels = _field(body, "Labels", _NO_ENTRIES)
    if len(labels) > MAX_LABELS or not all(isinstance(label, str) for label in labels):
        raise BadParameter(f"Labels: expected at most {MAX_LABELS} texts")
    constraint = body.get("LabelsConstraint", LabelsConstraint.ALL)
    if constraint not in list(LabelsConstraint):
        raise BadParameter(f"LabelsConstraint: expected All, Any or None, got {str(constraint)[:80]!r}")
    checked = tuple(check_label(label) for label in labels)
    return LabelFilter(checked, LabelsConstraint(constraint)) if checked else None


def _conditions(query: Mapping[str, Any], limits: SearchLimits) -> list[MatchingKey]:
    found = []
    for name, value in query.items():
        if not isinstance(value, str):
            raise BadParameter(f"Query.{name[:80]}: expected text, got {str(value)[:80]}")
        parsed = condition(attribute_path(name), value, max_values=limits.values)
        if parsed is not None:
            found.append(parsed)
    limits.check(matching_keys=len(found))
    return found


def _metadata_key(names: CodeNames, name: str, value: Any, limits: SearchLimits) -> MetadataKey:
    """Read a key of `MetadataQuery`: text with wildcards, or several with backslashes between them."""
    if not isinstance(value, str):
        raise BadParameter(f"MetadataQuery.{name[:80]}: expected text, got {str(value)[:80]}")
    values = tuple(value.split("\\"))
    if len(values) > limits.values:
        raise BadParameter(f"MetadataQuery.{name[:80]}: more than {limits.values} values (OSTEON_QUERY_MAX_VALUES)")
    code = _searched_code(names, name, "MetadataQuery")
    if len(values) > 1:
        return MetadataKey(code, OneOf(values))
    return MetadataKey(code, Wildcard(value) if set(value) & set("*?") else Single(value))


def _searched_code(names: CodeNames, name: str, field: str) -> int:
    """Return the code of metadata that are in the index."""
    code = names.code_of(name)
    if code is None or not (is_user_code(code) or code in WRITTEN_BY_JOBS):
        raise BadParameter(f"{field}: {name[:80]!r} are no metadata that resources are found by: expected users' names")
    return code


def _order(entry: Any, names: CodeNames) -> Order:
    kind, key = (entry.get("Type"), entry.get("Key")) if isinstance(entry, dict) else (None, None)
    if kind not in ("DicomTag", "Metadata") or not isinstance(key, str):
        raise BadParameter("OrderBy: expected objects with Type 'DicomTag' or 'Metadata', Key and Direction")
    direction = entry.get("Direction", "ASC")
    if direction not in ("ASC", "DESC"):
        raise BadParameter(f"OrderBy.Direction: expected ASC or DESC, got {str(direction)[:80]!r}")
    descending = direction == "DESC"
    if kind == "DicomTag":
        return Order(attribute_path(key)[0], descending)
    if key == LAST_UPDATE:
        return Order(LAST_UPDATE, descending)
    return Order("", descending, _searched_code(names, key, "OrderBy"))


def _field(body: Mapping[str, Any], name: str, default: T) -> T:
    """Return a field that has the type of its default; raises `BadParameter`."""
    value = body.get(name, default)
    if not isinstance(value, type(default)):
        raise BadParameter(f"{name}: expected {_TYPE_NAMES[type(default)]}")
    return value


def _number(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise BadParameter(f"{name}: expected a whole number of zero or more")
    return value
