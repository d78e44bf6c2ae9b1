"""Orthanc REST: from a resource to what is above and below it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.query import Search
from osteon_query.http.context import DoorOf, resource_id
from osteon_query.http.streaming import streamed
from osteon_query.orthanc.expanding import json_list, objects, view_of
from osteon_query.orthanc.kinds import KINDS, Kind
from osteon_query.orthanc.resources import JSON, json_response

router = APIRouter(tags=["Resources"])


def _add_down(kind: Kind, below: Kind) -> None:
    @router.get(f"/{kind.segment}/{{id}}/{below.segment}", name=f"{below.segment} of {kind.type.lower()}")
    async def down(request: Request, door: DoorOf, id: str) -> Response:
        match = await door.index.get(kind.level, resource_id(id))
        source = json_list(
            door, Search(below.level, parents=(match.public_id,)), view_of(request, expand=True), total=None
        )
        return await streamed(request, source, {"Content-Type": JSON})


def _add_up(kind: Kind, above: Kind) -> None:
    @router.get(f"/{kind.segment}/{{id}}/{above.type.lower()}", name=f"{above.type.lower()} of {kind.type.lower()}")
    async def up(request: Request, door: DoorOf, id: str) -> Response:
        match = await door.index.get(kind.level, resource_id(id))
        resource = (match.patient, match.study, match.series)[above.level.depth]
        assert resource is not None
        parent = await door.index.get(above.level, resource.public_id)
        return json_response((await objects(door, [parent], view_of(request, expand=True)))[0])


for _kind in KINDS:
    for _other in KINDS:
        if _other.level.depth > _kind.level.depth:
            _add_down(_kind, _other)
        elif _other.level.depth < _kind.level.depth:
            _add_up(_kind, _other)
