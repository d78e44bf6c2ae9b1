"""Orthanc REST: lists of patients, studies, series and instances, single ones, and their statistics."""

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Match
from osteon.dicom.models import Level
from osteon.dicom.query import Search
from osteon_query.dicomweb.parameters import number
from osteon_query.http.context import Door, DoorOf, resource_id
from osteon_query.http.errors import BadParameter
from osteon_query.http.streaming import streamed
from osteon_query.orthanc.expanding import json_list, objects, view_of
from osteon_query.orthanc.kinds import KINDS, Kind

router = APIRouter(tags=["Resources"])

JSON = "application/json"
_MB = 1 << 20


def json_response(body: Any) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(body), media_type=JSON)


def _add_routes(kind: Kind) -> None:
    @router.get(f"/{kind.segment}", name=f"list {kind.segment}")
    async def listing(request: Request, door: DoorOf) -> Response:
        return await _list(request, door, kind)

    @router.get(f"/{kind.segment}/{{id}}", name=f"get {kind.type.lower()}")
    async def single(request: Request, door: DoorOf, id: str) -> Response:
        match = await door.index.get(kind.level, resource_id(id))
        return json_response((await objects(door, [match], view_of(request, expand=True)))[0])

    @router.get(f"/{kind.segment}/{{id}}/statistics", name=f"statistics of {kind.type.lower()}")
    async def statistics(door: DoorOf, id: str) -> Response:
        return json_response(_statistics(await door.index.get(kind.level, resource_id(id))))

    @router.get(f"/{kind.segment}/{{id}}/labels", name=f"labels of {kind.type.lower()}")
    async def labels(door: DoorOf, id: str) -> Response:
        await door.index.get(kind.level, resource_id(id))
        return json_response([])


for _kind in KINDS:
    _add_routes(_kind)


@router.get("/patients/{id}/protected")
async def protected(door: DoorOf, id: str) -> Response:
    """Say whether a patient is kept when room is needed: nothing is ever deleted for that, so none has to be."""
    await door.index.get(Level.PATIENT, resource_id(id))
    return Response("0", media_type="text/plain")


async def _list(request: Request, door: Door, kind: Kind) -> Response:
    given = request.query_params
    if ("since" in given) != ("limit" in given):
        raise BadParameter("since and limit: give both or none")
    since = number("since", given.get("since", "0"))
    limit = number("limit", given.get("limit", "0"))
    view = view_of(request, expand=False)
    source = json_list(door, Search(kind.level, offset=since), view, total=limit or None)
    return await streamed(request, source, {"Content-Type": JSON})


def _statistics(match: Match) -> dict[str, Any]:
    body = sizes(_size(match), ("DicomDiskSize", "DicomUncompressedSize", "DiskSize", "UncompressedSize"))
    lowest = match.instance or match.series or match.study or match.patient
    for key, name in (("CountStudies", "studies"), ("CountSeries", "series"), ("CountInstances", "instances")):
        if isinstance(count := getattr(lowest, name, None), int):
            body[key] = count
    return body


def _size(match: Match) -> int:
    if match.instance is not None:
        return match.instance.location.length
    return (match.series or match.study or match.patient).size


def sizes(size: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Write a size under several names, as text in bytes and as a number in MB."""
    return {key: value for name in names for key, value in ((name, str(size)), (f"{name}MB", size // _MB))}
