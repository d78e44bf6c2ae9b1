"""Orthanc REST: searches in modalities, their answers, and retrieving what was found."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.attribute_names import tag_of, vr_of_tag
from osteon.dicom.attributes import element_text
from osteon.dicom.json_values import json_values
from osteon.dicom.models import Level, required_keys
from osteon.remotes.orthanc_json import RETRIEVE_METHODS
from osteon.remotes.queries import QueryNotFound, RemoteQuery
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import json_object, small_body
from osteon_query.http.errors import BadBody, BadParameter
from osteon_query.http.json_response import json_response
from osteon_query.orthanc.modalities import RetrieveSelection, begin_query, retrieve
from osteon_query.orthanc.request_bodies import keys_of
from osteon_query.orthanc.resource_lists import asks_to_expand
from osteon_query.orthanc.resource_types import BY_LEVEL, ResourceType, resource_type_named
from osteon_query.orthanc.tag_formats import write_tags
from osteon_query.orthanc.tags import tag_format_of

router = APIRouter(prefix="/queries", tags=["Modalities"])

Header = Mapping[str, Any]


@router.get("")
async def queries(state: AppStateDep) -> Response:
    """List the searches that are kept."""
    return json_response([query.id for query in await state.remote_queries.list()])


@router.get("/{id}")
async def operations(state: AppStateDep, id: str) -> Response:
    """List the resources of a search."""
    await state.remote_queries.get(id)
    return json_response(["answers", "level", "modality", "query", "retrieve"])


@router.delete("/{id}")
async def delete(state: AppStateDep, id: str) -> Response:
    """Delete a search and its answers."""
    await state.remote_queries.delete(id)
    return json_response({})


@router.get("/{id}/level")
async def level(state: AppStateDep, id: str) -> Response:
    """Send the level of a search."""
    return _text((await state.remote_queries.get(id)).level)


@router.get("/{id}/modality")
async def modality(state: AppStateDep, id: str) -> Response:
    """Send the name of the modality that was searched."""
    return _text((await state.remote_queries.get(id)).modality)


@router.get("/{id}/query")
async def query(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the keys of a search."""
    keys = (await state.remote_queries.get(id)).query
    by_tag = {tag_of(name): text for name, text in keys.items()}
    header = {tag: {"vr": (vr := vr_of_tag(tag)), "Value": json_values(vr, text)} for tag, text in by_tag.items()}
    return json_response(write_tags(header, tag_format_of(request)))


@router.get("/{id}/answers")
async def answers(request: Request, state: AppStateDep, id: str) -> Response:
    """List the numbers of the answers, or with `expand` the answers (`simplify`, `short`)."""
    found = await state.remote_queries.get(id)
    if not asks_to_expand(request):
        return json_response([str(number) for number in range(found.answers)])
    form = tag_format_of(request)
    headers = await state.remote_queries.answers(id)
    return json_response([write_tags(orjson.loads(header), form, any_length=True) for header in headers])


@router.get("/{id}/answers/{index}")
async def answer_operations(state: AppStateDep, id: str, index: str) -> Response:
    """List what can be done with an answer."""
    found, _ = await _answer(state, id, index)
    below = [f"query-{BY_LEVEL[lower].segment}" for lower in _below(resource_type_named(found.level))]
    return json_response(["content", *below, "retrieve"])


@router.get("/{id}/answers/{index}/content")
async def content(request: Request, state: AppStateDep, id: str, index: str) -> Response:
    """Send an answer (`simplify`, `short`)."""
    _, header = await _answer(state, id, index)
    return json_response(write_tags(header, tag_format_of(request), any_length=True))


@router.post("/{id}/answers/{index}/retrieve")
async def retrieve_answer(request: Request, state: AppStateDep, id: str, index: str) -> Response:
    """Retrieve what an answer describes, as a job; the body is an AE title or `{"TargetAet": …}`, or empty: to here."""
    found, header = await _answer(state, id, index)
    return await _retrieve(request, state, found, [header])


@router.post("/{id}/retrieve")
async def retrieve_all(request: Request, state: AppStateDep, id: str) -> Response:
    """Retrieve all answers, as one job; the body is as for one answer."""
    found = await state.remote_queries.get(id)
    headers = [orjson.loads(each) for each in await state.remote_queries.answers(id)]
    return await _retrieve(request, state, found, headers)


def _add_child(kind: ResourceType) -> None:
    @router.post(f"/{{id}}/answers/{{index}}/query-{kind.segment}", name=f"query {kind.segment} of an answer")
    async def query_below(request: Request, state: AppStateDep, id: str, index: str) -> Response:
        found, header = await _answer(state, id, index)
        if kind.level not in _below(resource_type_named(found.level)):
            raise BadParameter(f"{kind.segment} are not below the level of this query, {found.level}")
        body = await json_object(request)
        keys = {**keys_of(body), **_keys(resource_type_named(found.level).level, header)}
        known = await state.remotes.modality(found.modality)
        inherited = {"LocalAet": found.local_aet, "Timeout": found.timeout}
        return await begin_query(request, state, known, {**inherited, **body, "Level": kind.type, "Query": keys})


for _level in (Level.STUDY, Level.SERIES, Level.IMAGE):
    _add_child(BY_LEVEL[_level])


def _below(kind: ResourceType) -> list[Level]:
    return [level for level in Level if level.is_below(kind.level)]


async def _answer(state: AppState, id: str, index: str) -> tuple[RemoteQuery, Header]:
    found = await state.remote_queries.get(id)
    if not (index.isascii() and index.isdigit() and len(index) < 10 and int(index) < found.answers):
        raise QueryNotFound(f"query {id[:80]!r} has no answer {index[:80]!r}, it has {found.answers}")
    for header in await state.remote_queries.answers(id, since=int(index), limit=1):
        return found, orjson.loads(header)
    raise QueryNotFound(f"query {id[:80]!r} was deleted")


async def _retrieve(request: Request, state: AppState, query: RemoteQuery, headers: list[Header]) -> Response:
    body = await _retrieve_body(request)
    if not headers:
        raise BadParameter(f"query {query.id} has no answers to be retrieved")
    known = await state.remotes.modality(query.modality)
    level = resource_type_named(query.level).level
    method = body.get("RetrieveMethod", RETRIEVE_METHODS[0])
    if method not in RETRIEVE_METHODS:
        raise BadParameter(f"RetrieveMethod: expected one of {', '.join(RETRIEVE_METHODS)}")
    if method == RETRIEVE_METHODS[0]:
        method = known.retrieve_method
    method = "C-GET" if method == "C-GET" and "TargetAet" not in body else "C-MOVE"
    resources = tuple(_keys(level, header) for header in headers)
    inherited = {"LocalAet": query.local_aet, "Timeout": query.timeout}
    return await retrieve(request, state, known, RetrieveSelection(method, level, resources), {**inherited, **body})


async def _retrieve_body(request: Request) -> dict[str, Any]:
    text = (await small_body(request)).strip()
    if text[:1] not in (b"{", b'"'):
        return {"TargetAet": text.decode("ascii", "replace")} if text else {}
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error}") from None
    return {"TargetAet": body} if isinstance(body, str) else dict(body)


def _keys(level: Level, header: Header) -> dict[str, str]:
    """Return the unique keys of an answer; raises `BadParameter` when it lacks its own."""
    keys = {name: element_text(header[tag_of(name)]) for name in required_keys(level) if tag_of(name) in header}
    if not keys.get(required_keys(level)[-1]):
        raise BadParameter(f"the answer of the modality has no {required_keys(level)[-1]}")
    return {name: text for name, text in keys.items() if text}


def _text(text: str) -> Response:
    return Response(text, media_type="text/plain")
