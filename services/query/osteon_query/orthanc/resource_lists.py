"""Pages of matches, and their Orthanc objects: children, headers and requested tags fetched a page at a time."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.requests import Request

from osteon.archive.ports import ResourceSearch
from osteon.archive.resources import Match
from osteon.dicom.attribute_names import attribute_path
from osteon.dicom.attributes import LEVEL_OF, is_below
from osteon.dicom.query import Search
from osteon.logging import get_logger
from osteon.user_data.port import UserData
from osteon_query.app_state import AppState
from osteon_query.http.errors import BadParameter
from osteon_query.orthanc.resource_json import COMPUTED_KEYWORDS, ResourceDetails, to_json
from osteon_query.orthanc.resource_types import BY_LEVEL, INSTANCE, ResourceType
from osteon_query.orthanc.response_content import content_parts, with_content
from osteon_query.orthanc.tag_formats import TagFormat
from osteon_query.orthanc.user_data import attachment_names, metadata_names
from osteon_query.packs.sidecars import parse_header
from osteon_query.search.header_matching import raw_headers
from osteon_query.search.paging import pages, row_pages

log = get_logger(__name__)

_PAGE: Final = 1_000
_NO: Final = frozenset({"0", "false"})
_MAX_TAGS: Final = 100


@dataclass(frozen=True, slots=True)
class View:
    """How resources are shown: their identifiers only, or whole objects."""

    expand: bool
    requested: tuple[str, ...] = field(default=())
    form: TagFormat = TagFormat.SIMPLIFIED
    content: frozenset[str] | None = None
    """Parts of the objects, as `ResponseContent` names them; None for what `Expand` shows."""


def view_of(request: Request, *, expand: bool) -> View:
    """Read `expand`, `full`, `short`, `requested-tags` and `response-content`, which implies `expand`.

    `expand` says what holds when both are absent.
    """
    given = request.query_params
    expanded = asks_to_expand(request, otherwise=expand)
    form = TagFormat.FULL if "full" in given else TagFormat.SHORT if "short" in given else TagFormat.SIMPLIFIED
    names = given.get("requested-tags", given.get("requestedTags", ""))
    parts = given.get("response-content")
    content = None if parts is None else content_parts(name for name in parts.split(";") if name)
    requested = requested_tags(name for name in names.split(";") if name)
    return View(expanded or content is not None, requested, form, content)


def asks_to_expand(request: Request, *, otherwise: bool = False) -> bool:
    """Read `expand`; `otherwise` holds when it is absent."""
    given = request.query_params.get("expand")
    return otherwise if given is None else given.lower() not in _NO


def requested_tags(names: Any) -> tuple[str, ...]:
    """Check attributes that are requested by keyword or tag; raises `Invalid`."""
    paths = [attribute_path(name) for name in names]
    if len(paths) > _MAX_TAGS or any(len(path) > 1 for path in paths):
        raise BadParameter(f"requested tags: expected at most {_MAX_TAGS} keywords or tags, without paths")
    return tuple(path[0] for path in paths)


def json_list(state: AppState, search: Search, view: View, *, total: int | None) -> AsyncGenerator[bytes, None]:
    """Yield a JSON array of what a search finds."""
    if not view.expand:
        return _array(_identifiers(state.index, search, total))
    return json_array(state, pages(state.index, search, size=BY_LEVEL[search.level].page, total=total), view)


def json_array(
    state: AppState, found: AsyncGenerator[Sequence[Match], None], view: View
) -> AsyncGenerator[bytes, None]:
    """Yield a JSON array of identifiers or objects, in constant memory."""
    return _array(_shown(state, found, view))


async def _identifiers(index: ResourceSearch, search: Search, total: int | None) -> AsyncGenerator[Sequence[Any], None]:
    async for rows in row_pages(index, search, size=_PAGE, total=total):
        yield await index.identifiers(search.level, rows)


async def _shown(
    state: AppState, found: AsyncGenerator[Sequence[Match], None], view: View
) -> AsyncGenerator[Sequence[Any], None]:
    async for matches in found:
        yield await objects(state, matches, view) if view.expand else [match.public_id for match in matches]


async def _array(found: AsyncGenerator[Sequence[Any], None]) -> AsyncGenerator[bytes, None]:
    opening = b"["
    async for shown in found:
        if shown:
            yield opening + orjson.dumps(shown)[1:-1]
            opening = b","
    yield b"]" if opening == b"," else b"[]"


async def objects(state: AppState, matches: Sequence[Match], view: View) -> list[dict[str, Any]]:
    """Return the objects of some resources of one level."""
    if not matches:
        return []
    kind = BY_LEVEL[matches[0].level]
    children = view.content is None or not view.content.isdisjoint(("Children", "Status"))
    public_ids = [match.public_id for match in matches]
    below = await state.index.children(kind.level, public_ids) if children and kind.children else {}
    user_data = await state.user_data.read_many(kind.level, public_ids)
    headers: list[Mapping[str, Any]] = [{} for _ in matches]
    shows_tags = view.content is None or "MainDicomTags" in view.content
    lacking = [keyword for keyword in view.requested if not _is_held(kind, keyword)]
    if (kind is INSTANCE and shows_tags) or lacking:
        log.info("headers read for a list", level=kind.type, resources=len(matches), requested=lacking)
        raw = await raw_headers(state.index, state.sidecars, matches)
        headers = await asyncio.to_thread(lambda: [parse_header(one) if one else {} for one in raw])
    shown = []
    for match, header in zip(matches, headers, strict=True):
        data = user_data.get(match.public_id, UserData())
        details = ResourceDetails(below.get(match.public_id, ()), data, header, view.requested, view.form)
        body = to_json(match, details)
        if view.content is not None:
            body = with_content(body, view.content, match, data, (metadata_names(state), attachment_names(state)))
        shown.append(body)
    return shown


def _is_held(kind: ResourceType, keyword: str) -> bool:
    """Whether the index holds an attribute of resources, or it is computed."""
    return keyword in COMPUTED_KEYWORDS or (keyword in LEVEL_OF and not is_below(keyword, kind.level))
