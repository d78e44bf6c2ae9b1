"""Orthanc REST: `/tools` that say how the archive is set up, and what Orthanc has and this archive does not do."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from prometheus_client import generate_latest
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.errors import NotFound
from osteon_query.app_state import AppStateDep
from osteon_query.http.bodies import json_object, small_body
from osteon_query.http.errors import BadParameter, Forbidden
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.orthanc.resource_lists import View, objects, requested_tags
from osteon_query.orthanc.resource_types import RESOURCE_TYPES, ResourceType, resource_type_named
from osteon_query.orthanc.tag_formats import TagFormat

router = APIRouter(tags=["Tools"])

_LEVELS: Final = frozenset({"patient", "study", "series", "instance"})
_MOST: Final = 10_000
_TEXT: Final = "text/plain"
_CATEGORIES: Final = ("dicom", "generic", "http", "jobs", "lua", "plugins", "sqlite")
_FIXED: Final[Mapping[str, str]] = {
    "default-encoding": "Utf8",
    "unknown-sop-class-accepted": "1",
    "metrics": "1",
    **{f"log-level{'-' if each else ''}{each}": "default" for each in ("", *_CATEGORIES)},
}
"""What these routes of Orthanc say here, where settings change only with a restart."""


@router.get("/tools")
async def tools(request: Request) -> Response:
    """List what is below `/tools`."""
    paths = {path.split("/")[2] for path in request.app.openapi()["paths"] if path.startswith("/tools/")}
    return json_response(sorted(paths))


@router.get("/tools/generate-uid")
async def generate_uid(request: Request) -> Response:
    """Make a UID that nobody else makes (PS3.5 B.2); a Patient ID with `level=patient`."""
    level = request.query_params.get("level", "").lower()
    if level not in _LEVELS:
        raise BadParameter(f"level: expected one of {', '.join(sorted(_LEVELS))}")
    made = uuid.uuid4()
    return Response(str(made) if level == "patient" else f"2.25.{made.int}", media_type=_TEXT)


@router.get("/tools/accepted-transfer-syntaxes")
async def accepted_transfer_syntaxes() -> Response:
    """List the transfer syntaxes in which instances are taken by C-STORE: all that are known."""
    return json_response(sorted(TRANSFER_SYNTAXES))


@router.get("/tools/metrics-prometheus")
async def metrics_prometheus() -> Response:
    """Send the metrics of this process, as `/metrics` does."""
    return Response(generate_latest(), media_type="text/plain; version=0.0.4")


def _add_fixed(name: str, value: str) -> None:
    @router.get(f"/tools/{name}", name=name)
    async def get() -> Response:
        return Response(value, media_type=_TEXT)

    @router.put(f"/tools/{name}", name=f"change {name}")
    async def put(request: Request) -> Response:
        given = (await small_body(request)).decode("utf-8", "replace").strip()
        if given == value:
            return Response(value, media_type=_TEXT)
        raise Forbidden(
            f"/tools/{name} is {value!r} and cannot be changed while the archive runs: see docs/settings.md"
        )


for _name, _value in _FIXED.items():
    _add_fixed(_name, _value)


@router.put("/tools/accepted-transfer-syntaxes")
async def accept_transfer_syntaxes() -> Response:
    """Refuse: every known transfer syntax is accepted."""
    raise Forbidden("all transfer syntaxes that are known are accepted; this cannot be changed")


@router.post("/tools/execute-script")
async def execute_script() -> Response:
    """Refuse: scripts of clients are never run."""
    raise Forbidden("scripts are not executed: the archive has no Lua")


@router.post("/tools/reconstruct")
async def reconstruct() -> Response:
    """Do nothing: the index always has what the files say. `osteon reindex` makes it anew from the bucket."""
    return json_response({})


def _add_reconstruct(kind: ResourceType) -> None:
    @router.post(f"/{kind.segment}/{{id}}/reconstruct", name=f"reconstruct {kind.type.lower()}")
    async def reconstruct_one(state: AppStateDep, id: str) -> Response:
        await state.index.get(kind.level, resource_id(id))
        return json_response({})


for _kind in RESOURCE_TYPES:
    _add_reconstruct(_kind)


@router.post("/tools/bulk-content")
async def bulk_content(request: Request, state: AppStateDep) -> Response:
    """Describe many resources: `{"Resources": [identifiers], "Level": …, "Short": …, "Full": …}`.

    Without `Level` they may be of any, with it those of others are left out, as is what is not there.
    """
    body = await json_object(request)
    listed = body.get("Resources")
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise BadParameter("Resources: expected an array of identifiers")
    if len(listed) > _MOST:
        raise BadParameter(f"Resources: at most {_MOST} in one request")
    form = TagFormat.FULL if body.get("Full") else TagFormat.SHORT if body.get("Short") else TagFormat.SIMPLIFIED
    view = View(expand=True, requested=requested_tags(()), form=form)
    kinds = [resource_type_named(body["Level"])] if "Level" in body else list(RESOURCE_TYPES)
    shown: list[Any] = []
    for each in listed:
        for kind in kinds:
            try:
                match = await state.index.get(kind.level, resource_id(each))
            except NotFound:
                continue
            shown += await objects(state, [match], view)
            break
    return json_response(shown)


@router.get("/exports")
async def exports() -> Response:
    """Say that no exports are logged: what was sent is in `/jobs`."""
    return json_response({"Exports": [], "Done": True, "Last": 0})


@router.delete("/exports")
async def forget_exports() -> Response:
    """Do nothing: no exports are logged."""
    return json_response({})


@router.delete("/changes")
async def forget_changes() -> Response:
    """Refuse: others read the change log, and it is never emptied."""
    raise Forbidden("the change log is not emptied: others may read it. Ask with since= for what is new")
