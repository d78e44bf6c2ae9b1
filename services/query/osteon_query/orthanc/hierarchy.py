"""Orthanc REST: from a resource to what is above and below it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.query import Search
from osteon_query.app_state import AppStateDep
from osteon_query.http.json_response import JSON, json_response
from osteon_query.http.request_values import resource_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.resource_lists import json_list, objects, view_of
from osteon_query.orthanc.resource_types import RESOURCE_TYPES, ResourceType

router = APIRouter(tags=["Resources"])


def _add_down(kind: ResourceType, below: ResourceType) -> None:
    @router.get(f"/{kind.segment}/{{id}}/{below.segment}", name=f"{below.segment} of {kind.type.lower()}")
    async def down(request: Request, state: AppStateDep, id: str) -> Response:
        match = await state.index.get(kind.level, resource_id(id))
        source = json_list(
            state, Search(below.level, parents=(match.public_id,)), view_of(request, expand=True), total=None
        )
        return await stream_response(request, source, {"Content-Type": JSON})


def _add_up(kind: ResourceType, above: ResourceType) -> None:
    @router.get(f"/{kind.segment}/{{id}}/{above.type.lower()}", name=f"{above.type.lower()} of {kind.type.lower()}")
    async def up(request: Request, state: AppStateDep, id: str) -> Response:
        match = await state.index.get(kind.level, resource_id(id))
        resource = (match.patient, match.study, match.series)[above.level.depth]
        assert resource is not None
        parent = await state.index.get(above.level, resource.public_id)
        return json_response((await objects(state, [parent], view_of(request, expand=True)))[0])


for _kind in RESOURCE_TYPES:
    for _other in RESOURCE_TYPES:
        if _other.level.depth > _kind.level.depth:
            _add_down(_kind, _other)
        elif _other.level.depth < _kind.level.depth:
            _add_up(_kind, _other)
