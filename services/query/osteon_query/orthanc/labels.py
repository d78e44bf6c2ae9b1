"""Orthanc REST: labels of resources."""

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.user_data.limits import check_label
from osteon_query.app_state import AppStateDep
from osteon_query.http.errors import UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.orthanc.resource_types import RESOURCE_TYPES, ResourceType
from osteon_query.orthanc.user_data import change, empty_response

router = APIRouter(tags=["Labels"])


def _add_routes(kind: ResourceType) -> None:
    path, one = f"/{kind.segment}/{{id}}/labels", kind.type.lower()

    @router.get(path, name=f"labels of {one}")
    async def labels(state: AppStateDep, id: str) -> Response:
        return json_response(sorted((await state.user_data.read(kind.level, resource_id(id))).labels))

    @router.get(f"{path}/{{label}}", name=f"test label of {one}")
    async def test(state: AppStateDep, id: str, label: str) -> Response:
        if label not in (await state.user_data.read(kind.level, resource_id(id))).labels:
            raise UnknownResource(f"the {one} has no label {label[:80]!r}")
        return empty_response()

    @router.put(f"{path}/{{label}}", name=f"add label to {one}")
    async def add(request: Request, state: AppStateDep, id: str, label: str) -> Response:
        added = {check_label(label)}
        await change(request, state, kind, id, lambda old: replace(old, labels=old.labels | added))
        return empty_response()

    @router.delete(f"{path}/{{label}}", name=f"remove label of {one}")
    async def remove(request: Request, state: AppStateDep, id: str, label: str) -> Response:
        gone = {check_label(label)}
        await change(request, state, kind, id, lambda old: replace(old, labels=old.labels - gone))
        return empty_response()


for _kind in RESOURCE_TYPES:
    _add_routes(_kind)


@router.get("/tools/labels")
async def all_labels(state: AppStateDep) -> Response:
    """List the labels that any resource has."""
    return json_response(await state.user_data.labels())
