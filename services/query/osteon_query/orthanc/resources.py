"""Orthanc REST: lists of patients, studies, series and instances, single ones, and their statistics."""

from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Match
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import small_body
from osteon_query.http.errors import BadBody, BadParameter
from osteon_query.http.json_response import JSON, json_response
from osteon_query.http.request_values import number, resource_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.resource_lists import json_list, objects, view_of
from osteon_query.orthanc.resource_types import PATIENT, RESOURCE_TYPES, ResourceType
from osteon_query.orthanc.user_data import change, empty_response

router = APIRouter(tags=["Resources"])

_MB = 1 << 20
_FLAGS: Final = {b"0": False, b"false": False, b"1": True, b"true": True}


def _add_routes(kind: ResourceType) -> None:
    @router.get(f"/{kind.segment}", name=f"list {kind.segment}")
    async def listing(request: Request, state: AppStateDep) -> Response:
        return await _list(request, state, kind)

    @router.get(f"/{kind.segment}/{{id}}", name=f"get {kind.type.lower()}")
    async def single(request: Request, state: AppStateDep, id: str) -> Response:
        match = await state.index.get(kind.level, resource_id(id))
        return json_response((await objects(state, [match], view_of(request, expand=True)))[0])

    @router.get(f"/{kind.segment}/{{id}}/statistics", name=f"statistics of {kind.type.lower()}")
    async def statistics(state: AppStateDep, id: str) -> Response:
        return json_response(_statistics(await state.index.get(kind.level, resource_id(id))))


for _kind in RESOURCE_TYPES:
    _add_routes(_kind)


@router.get("/patients/{id}/protected")
async def protected(state: AppStateDep, id: str) -> Response:
    """Say whether a patient is to be kept when room is needed. Nothing is ever deleted for that."""
    found = await state.user_data.read(Level.PATIENT, resource_id(id))
    return Response(str(int(found.protected)), media_type="text/plain")


@router.put("/patients/{id}/protected")
async def protect(request: Request, state: AppStateDep, id: str) -> Response:
    """Set it: the body is `1` or `0`."""
    body = (await small_body(request)).strip()
    if body not in _FLAGS:
        raise BadBody(f"the body must be 0 or 1, got {body[:80].decode('ascii', 'replace')!r}")
    await change(request, state, PATIENT, id, lambda old: replace(old, protected=_FLAGS[body]))
    return empty_response()


async def _list(request: Request, state: AppState, kind: ResourceType) -> Response:
    given = request.query_params
    if ("since" in given) != ("limit" in given):
        raise BadParameter("since and limit: expected both or neither")
    since = number("since", given.get("since", "0"))
    limit = number("limit", given.get("limit", "0"))
    view = view_of(request, expand=False)
    source = json_list(state, Search(kind.level, offset=since), view, total=limit or None)
    return await stream_response(request, source, {"Content-Type": JSON})


def _statistics(match: Match) -> dict[str, Any]:
    above = match.series or match.study or match.patient
    size = match.instance.location.length if match.instance is not None else above.size
    body = sizes(size, ("DicomDiskSize", "DicomUncompressedSize", "DiskSize", "UncompressedSize"))
    lowest = match.instance or match.series or match.study or match.patient
    for key, name in (("CountStudies", "studies"), ("CountSeries", "series"), ("CountInstances", "instances")):
        if isinstance(count := getattr(lowest, name, None), int):
            body[key] = count
    return body


def sizes(size: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Write a size under several names, as text in bytes and as a number in MB."""
    return {key: value for name in names for key, value in ((name, str(size)), (f"{name}MB", size // _MB))}
