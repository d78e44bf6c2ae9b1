"""Orthanc REST: modalities, and requests to them."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.models import Level
from osteon.remotes.job_params import (
    ModalityStoreParams,
    RetrieveByGetParams,
    RetrieveByMoveParams,
    RetrieveParams,
    StraightStoreParams,
)
from osteon.remotes.orthanc_json import (
    MODALITY_FIELDS,
    aet_field,
    bool_field,
    host_field,
    int_field,
    modality_from,
    modality_object,
)
from osteon.remotes.port import Modality
from osteon.remotes.queries import QueryNotFound
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import json_body, json_object, optional_object
from osteon_query.http.errors import BadParameter
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import correlation_id
from osteon_query.orthanc.request_bodies import content_of, keys_of, resources_of, warn_of_unknown_fields
from osteon_query.orthanc.resource_lists import asks_to_expand
from osteon_query.orthanc.resource_types import resource_type_named
from osteon_query.orthanc.tag_formats import TagFormat, write_tags
from osteon_query.remotes.dispatcher_client import echo, new_query, search, target_of
from osteon_query.remotes.job_submission import submit
from osteon_query.remotes.store_straight import receive_passing_file
from osteon_query.search.cfind_identifiers import resource_query, worklist_query

router = APIRouter(tags=["Modalities"])

OPERATIONS: Final = (
    "configuration",
    "echo",
    "find-worklist",
    "get",
    "move",
    "query",
    "storage-commitment",
    "store",
    "store-straight",
)
_MAX_TIMEOUT: Final = 86_400


@router.get("/modalities")
async def modalities(request: Request, state: AppStateDep) -> Response:
    """List the names of modalities, or all of them by name with `expand`."""
    found = await state.remotes.modalities()
    if asks_to_expand(request):
        return json_response({modality.name: modality_object(modality) for modality in found})
    return json_response([modality.name for modality in found])


@router.get("/modalities/{id}")
async def operations(state: AppStateDep, id: str) -> Response:
    """List what can be done with a modality."""
    await state.remotes.modality(id)
    return json_response(OPERATIONS)


@router.get("/modalities/{id}/configuration")
async def configuration(state: AppStateDep, id: str) -> Response:
    """Describe a modality: AE title, host, port and permissions."""
    return json_response(modality_object(await state.remotes.modality(id)))


@router.put("/modalities/{id}")
async def put(request: Request, state: AppStateDep, id: str) -> Response:
    """Add or replace a modality: `["AET", "host", port]` or an object. Holds everywhere within seconds."""
    body = await json_body(request)
    await state.remotes.put_modality(modality_from(id, body))
    warn_of_unknown_fields(request, state, body, MODALITY_FIELDS)
    return json_response({})


@router.delete("/modalities/{id}")
async def delete(state: AppStateDep, id: str) -> Response:
    """Remove a modality from the configuration; its jobs stay."""
    await state.remotes.delete_modality(id)
    return json_response({})


@router.post("/modalities/{id}/echo")
async def echo_modality(request: Request, state: AppStateDep, id: str) -> Response:
    """C-ECHO; the body may hold `{"Timeout": seconds, "CheckFind": true}`."""
    modality = await state.remotes.modality(id)
    body = await optional_object(request)
    target = target_of(state, modality, timeout=timeout_of(body))
    find = bool_field(body, "CheckFind", default=False)
    await echo(state, target, find=find, correlation_id=correlation_id(request))
    return json_response({})


@router.post("/tools/dicom-echo")
async def dicom_echo(request: Request, state: AppStateDep) -> Response:
    """C-ECHO to an AE that need not be configured: the fields of a modality, and `Timeout` and `CheckFind`."""
    body = await json_object(request)
    find = bool_field(body, "CheckFind", default=False)
    modality = modality_from("echo", body)
    await echo(state, target_of(state, modality), find=find, correlation_id=correlation_id(request))
    return json_response({})


@router.post("/modalities/{id}/query")
async def query(request: Request, state: AppStateDep, id: str) -> Response:
    """C-FIND; the answers are at the path that is returned: `{"Level": "Study", "Query": {"PatientName": "D*"}}`."""
    modality = await state.remotes.modality(id)
    return await begin_query(request, state, modality, await json_object(request))


async def begin_query(request: Request, state: AppState, modality: Modality, body: Mapping[str, Any]) -> Response:
    """Ask a modality what `Query` at `Level` says."""
    kind, keys = resource_type_named(body.get("Level")), keys_of(body)
    normalize = bool_field(body, "Normalize", default=True)
    question = resource_query(kind.level, keys, modality.manufacturer, normalize=normalize)
    made = new_query(modality, kind.type, keys, local_aet=aet_field(body, "LocalAet"), timeout=timeout_of(body))
    target = target_of(state, modality, local_aet=made.local_aet, timeout=made.timeout)
    await search(state, target, question, made, correlation_id(request))
    return json_response({"ID": made.id, "Path": f"/queries/{made.id}"})


@router.post("/modalities/{id}/find-worklist")
async def find_worklist(request: Request, state: AppStateDep, id: str) -> Response:
    """C-FIND in a modality worklist: the keys, or `{"Query": {…}, "Full": true, "Short": true}`; returns the items."""
    modality = await state.remotes.modality(id)
    body = await optional_object(request)
    given = body.get("Query")
    keys = given if isinstance(given, dict) else body
    question = worklist_query(keys, modality.manufacturer)
    made = new_query(modality, "Worklist", {})
    timeout = timeout_of(body) if keys is not body else 0
    await search(state, target_of(state, modality, timeout=timeout), question, made, correlation_id(request))
    try:
        found = await state.remote_queries.answers(made.id)
    finally:
        with suppress(QueryNotFound):
            await state.remote_queries.delete(made.id)
    form = (
        TagFormat.FULL
        if body.get("Full") is True
        else TagFormat.SHORT
        if body.get("Short") is True
        else TagFormat.SIMPLIFIED
    )
    return json_response([write_tags(orjson.loads(each), form) for each in found])


@router.post("/modalities/{id}/store")
async def store(request: Request, state: AppStateDep, id: str) -> Response:
    """Send resources by C-STORE, as a job: an identifier, an array of them, or an object with `Resources`."""
    modality = await state.remotes.modality(id)
    resources, body = await resources_of(request, state)
    job_params = ModalityStoreParams(
        modality=modality.name,
        resources=tuple(resources),
        local_aet=aet_field(body, "LocalAet"),
        called_aet=aet_field(body, "CalledAet"),
        host=host_field(body),
        port=int_field(body, "Port", 1, 65535),
        timeout=timeout_of(body),
        move_originator_aet=aet_field(body, "MoveOriginatorAet"),
        move_originator_id=int_field(body, "MoveOriginatorID", 0, 65535),
        storage_commitment=bool_field(body, "StorageCommitment", default=False),
        permissive=bool_field(body, "Permissive", default=False),
    )
    target = target_of(
        state, replace(modality, aet=job_params.called_aet or modality.aet), local_aet=job_params.local_aet
    )
    content = {**content_of(target), "ParentResources": resources, "InstancesCount": 0, "FailedInstancesCount": 0}
    return await submit(request, state.jobs, job_params, content, body)


@router.post("/modalities/{id}/store-straight")
async def store_straight(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the DICOM file in the body by C-STORE, without storing it here."""
    modality = await state.remotes.modality(id)
    file = await receive_passing_file(request, state)
    job_params = StraightStoreParams(
        modality=modality.name,
        key=file.key,
        length=file.length,
        sop_class_uid=file.identity.sop_class_uid,
        sop_instance_uid=file.identity.sop_uid,
        transfer_syntax_uid=file.transfer_syntax_uid,
    )
    names = {"SOPClassUID": job_params.sop_class_uid, "SOPInstanceUID": job_params.sop_instance_uid}
    return await submit(request, state.jobs, job_params, {**content_of(target_of(state, modality)), **names}, {})


@router.post("/modalities/{id}/move")
async def move(request: Request, state: AppStateDep, id: str) -> Response:
    """Let a modality send resources by C-MOVE to `TargetAet` (default: this archive), as a job."""
    return await _retrieve(request, state, id, "C-MOVE")


@router.post("/modalities/{id}/get")
async def get(request: Request, state: AppStateDep, id: str) -> Response:
    """Fetch resources from a modality by C-GET, as a job."""
    return await _retrieve(request, state, id, "C-GET")


async def _retrieve(request: Request, state: AppState, id: str, method: str) -> Response:
    modality = await state.remotes.modality(id)
    body = await json_object(request)
    given = body.get("Resources")
    if not isinstance(given, list) or not given:
        raise BadParameter('Resources: expected an array such as [{"StudyInstanceUID": "1.2.3"}]')
    level = resource_type_named(body.get("Level")).level
    resources = tuple(keys_of({"Query": each}) for each in given)
    return await retrieve(request, state, modality, RetrieveSelection(method, level, resources), body)


@dataclass(frozen=True, slots=True)
class RetrieveSelection:
    """What is retrieved from a modality: `resources` are the unique keys (PS3.4 C.6), `method` is C-MOVE or C-GET."""

    method: str
    level: Level
    resources: tuple[dict[str, str], ...]


async def retrieve(
    request: Request, state: AppState, modality: Modality, selection: RetrieveSelection, body: Mapping[str, Any]
) -> Response:
    """Submit a job that retrieves resources from a modality."""
    common: dict[str, Any] = {
        "modality": modality.name, "level": selection.level.value, "resources": selection.resources,
        "local_aet": aet_field(body, "LocalAet"), "timeout": timeout_of(body),
        "permissive": bool_field(body, "Permissive", default=False),
    }  # fmt: skip
    target = target_of(state, modality, local_aet=common["local_aet"])
    content: dict[str, Any] = {**content_of(target), "Query": list(selection.resources)}
    job_params: RetrieveParams = RetrieveByGetParams(**common)
    if selection.method == "C-MOVE":
        aim = aet_field(body, "TargetAet") or state.settings.aet
        job_params, content = RetrieveByMoveParams(**common, target_aet=aim), {**content, "TargetAet": aim}
    return await submit(request, state.jobs, job_params, content, body)


def timeout_of(body: Mapping[str, Any]) -> int:
    """Return `Timeout` in seconds, 0 when absent."""
    return int_field(body, "Timeout", 0, _MAX_TIMEOUT)
