"""Orthanc REST: new instances from stored ones. One instance is a file for the client, the rest are jobs."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope, Location
from osteon.dicom.models import Level
from osteon.modification.deidentification import change_of
from osteon.modification.errors import BadModification
from osteon.modification.instance_writer import InstanceWriter
from osteon.modification.job_params import MergeParams, ModificationParams, SplitParams
from osteon.modification.request import (
    ANONYMIZATION_FIELDS,
    FIELDS,
    Modification,
    check_keep_source,
    deidentification_of,
    implied_level,
    names_field,
    replacements,
)
from osteon.modification.study_modules import check_shared, other_elements, shared_elements
from osteon.objects.port import Bytes
from osteon.remotes.orthanc_json import bool_field
from osteon.sending.planned import from_location
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.accept import DICOM
from osteon_query.http.bodies import json_object, optional_object
from osteon_query.http.errors import UnknownResource
from osteon_query.http.request_values import resource_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.instance_location import instance_location
from osteon_query.orthanc.request_bodies import warn_of_unknown_fields
from osteon_query.orthanc.resource_types import PATIENT, SERIES, STUDY, ResourceType, resource_type_named
from osteon_query.packs.file_response import attachment
from osteon_query.remotes.job_submission import submit

router = APIRouter(tags=["Modification"])

_CHUNK: Final = 1 << 20
_MAX_RESOURCES: Final = 1_000
_STUDY_FIELDS: Final = FIELDS | {"Series", "Instances"}


@router.post("/instances/{id}/modify")
async def modify_instance(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the DICOM file of an instance with other attributes, under a new SOP Instance UID; nothing is stored.

    `{"Replace": {…}, "Remove": […], "Keep": […], "RemovePrivateTags": …, "Force": …, "Transcode": …}`.
    """
    body = await optional_object(request)
    warn_of_unknown_fields(request, state, body, FIELDS)
    modification = Modification.from_orthanc(body, implied_level(body), job=False)
    return await _send_changed(request, state, await instance_location(request, state, resource_id(id)), modification)


@router.post("/instances/{id}/anonymize")
async def anonymize_instance(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the DICOM file of an instance without what identifies the patient; nothing is stored.

    `{"Options": […], "Replace": {…}, "Remove": […], "Keep": […], "KeepPrivateTags": …, "Force": …, "Transcode": …}`.
    """
    body = await optional_object(request)
    warn_of_unknown_fields(request, state, body, ANONYMIZATION_FIELDS)
    how = deidentification_of(body)
    modification = Modification.from_orthanc(body, Level.IMAGE, job=False, deidentification=how)
    return await _send_changed(request, state, await instance_location(request, state, resource_id(id)), modification)


def _add_routes(kind: ResourceType) -> None:
    @router.post(f"/{kind.segment}/{{id}}/modify", name=f"modify {kind.type.lower()}")
    async def modify(request: Request, state: AppStateDep, id: str) -> Response:
        body = await optional_object(request)
        warn_of_unknown_fields(request, state, body, FIELDS)
        check_keep_source(body, default=True)
        match = await state.index.get(kind.level, resource_id(id))
        modification = Modification.from_orthanc(body, kind.level, job=True)
        return await _submit(request, state, body, modification, [match.public_id])

    @router.post(f"/{kind.segment}/{{id}}/anonymize", name=f"anonymize {kind.type.lower()}")
    async def anonymize(request: Request, state: AppStateDep, id: str) -> Response:
        body = await optional_object(request)
        warn_of_unknown_fields(request, state, body, ANONYMIZATION_FIELDS)
        check_keep_source(body, default=True)
        match = await state.index.get(kind.level, resource_id(id))
        how = deidentification_of(body)
        modification = Modification.from_orthanc(body, kind.level, job=True, deidentification=how)
        return await _submit(request, state, body, modification, [match.public_id])


for _kind in (PATIENT, STUDY, SERIES):
    _add_routes(_kind)


@router.post("/tools/bulk-modify")
async def bulk_modify(request: Request, state: AppStateDep) -> Response:
    """Modify `Resources` of any level as one job; `Level` says what gets a new identity."""
    body = await json_object(request)
    warn_of_unknown_fields(request, state, body, FIELDS)
    check_keep_source(body, default=True)
    resources = [location_id for location_id, _ in await _resources(state, body, "Resources")]
    level = resource_type_named(body["Level"]).level if "Level" in body else implied_level(body)
    modification = Modification.from_orthanc(body, level, job=True)
    return await _submit(request, state, body, modification, resources, bulk=True)


@router.post("/tools/bulk-anonymize")
async def bulk_anonymize(request: Request, state: AppStateDep) -> Response:
    """Anonymize `Resources` of any level as one job: what belongs together stays together."""
    body = await json_object(request)
    warn_of_unknown_fields(request, state, body, ANONYMIZATION_FIELDS)
    check_keep_source(body, default=True)
    resources = [location_id for location_id, _ in await _resources(state, body, "Resources")]
    how = deidentification_of(body)
    modification = Modification.from_orthanc(body, Level.PATIENT, job=True, deidentification=how)
    return await _submit(request, state, body, modification, resources, bulk=True)


@router.post("/studies/{id}/merge")
async def merge(request: Request, state: AppStateDep, id: str) -> Response:
    """Put copies of `Resources` (studies, series, instances of other studies) into a study, with its patient."""
    body = await json_object(request)
    warn_of_unknown_fields(request, state, body, FIELDS)
    target = (await state.index.get(Level.STUDY, resource_id(id))).public_id
    given = await _resources(state, body, "Resources")
    for public_id, location in given:
        if location.identity.public_study == target:
            raise UnknownResource(f"Cannot merge {public_id} into its parent study {target}")
        if location.identity.public_patient == public_id:
            raise BadModification(f"Resources: {public_id} is a patient; expected studies, series and instances")
    check_keep_source(body, default=False)
    place = (await state.index.representatives(Level.STUDY, [target]))[target]
    elements = shared_elements(await state.sidecars.header(place))
    keep = names_field(body, "Keep")
    modification = Modification(level=Level.SERIES, elements=elements, remove=other_elements(elements), keep=keep)
    modification.check_identifiers(force=True, job=True)
    params = MergeParams(
        resources=tuple(public_id for public_id, _ in given), modification=modification, **_options(body)
    )
    return await submit(request, state.jobs, params, _content(body, params) | {"TargetStudy": target}, body)


@router.post("/studies/{id}/split")
async def split(request: Request, state: AppStateDep, id: str) -> Response:
    """Put copies of some `Series` and `Instances` of a study into a new one; `Replace`, `Remove`: patient and study."""
    body = await json_object(request)
    warn_of_unknown_fields(request, state, body, _STUDY_FIELDS)
    source = (await state.index.get(Level.STUDY, resource_id(id))).public_id
    if "Series" not in body and "Instances" not in body:
        raise BadModification('Both the "Series" and the "Instances" fields are missing')
    given = [
        each for field in ("Series", "Instances") if field in body for each in await _resources(state, body, field)
    ]
    for public_id, location in given:
        if location.identity.public_study != source or public_id in (source, location.identity.public_patient):
            raise UnknownResource(f"This resource does not belong to the study to be split: {public_id}")
    modification = Modification(level=Level.STUDY, replace=replacements(body), remove=names_field(body, "Remove"))
    modification.check_values()
    check_shared(modification)
    check_keep_source(body, default=False)
    params = SplitParams(
        resources=tuple(public_id for public_id, _ in given), modification=modification, **_options(body)
    )
    return await submit(request, state.jobs, params, _content(body, params), body)


async def _submit(
    request: Request,
    state: AppState,
    body: Mapping[str, Any],
    modification: Modification,
    resources: Sequence[str],
    *,
    bulk: bool = False,
) -> Response:
    params = ModificationParams(resources=tuple(resources), modification=modification, bulk=bulk, **_options(body))
    content = _content(body, params) | {"IsAnonymization": modification.deidentification is not None}
    return await submit(request, state.jobs, params, content, body)


def _options(body: Mapping[str, Any]) -> dict[str, bool]:
    return {
        "permissive": bool_field(body, "Permissive", default=False),
        "keep_labels": bool_field(body, "KeepLabels", default=False),
    }


def _content(body: Mapping[str, Any], params: ModificationParams) -> dict[str, Any]:
    shown: dict[str, Any] = {"Description": "REST API", "ParentResources": list(params.resources)}
    return shown | ({"UserData": body["UserData"]} if "UserData" in body else {})


async def _resources(state: AppState, body: Mapping[str, Any], field: str) -> list[tuple[str, Location]]:
    """Return the resources that a field names, each with one of its instances; raises `UnknownResource`."""
    names = names_field(body, field)
    if not names or len(names) > _MAX_RESOURCES:
        raise BadModification(f"{field}: expected an array of 1 to {_MAX_RESOURCES} identifiers")
    found = []
    for name in dict.fromkeys(resource_id(each) for each in names):
        async for location in state.index.locate(InstanceScope(public_id=name)):
            found.append((name, location))
            break
        else:
            raise UnknownResource(f"there is no resource {name}")
    return found


async def _send_changed(request: Request, state: AppState, location: Location, modification: Modification) -> Response:
    """Write the changed file, send it and delete it."""
    key = state.settings.deidentification_key.get_secret_value()
    change = change_of(modification, job_key=secrets.token_hex(), key=key)
    writer = InstanceWriter(
        state.objects,
        state.bus,
        transcode=modification.transcode,
        quality=modification.lossy_quality,
        transcode_seconds=state.settings.transcode_timeout_seconds,
    )
    folder = await asyncio.to_thread(TemporaryDirectory, prefix="modify-", dir=state.uploads.folder)
    path = Path(folder.name) / "changed.dcm"
    try:
        made = await writer.write(from_location(location), change, path)
    except BaseException:
        await asyncio.to_thread(folder.cleanup)
        raise
    headers = {
        "Content-Type": DICOM,
        "Content-Length": str(made.size),
        "Content-Disposition": attachment(f"{made.identity.public_instance}.dcm"),
    }
    return await stream_response(request, _chunks(path, folder), headers)


async def _chunks(path: Path, folder: "TemporaryDirectory[str]") -> AsyncGenerator[Bytes, None]:
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
    finally:
        await asyncio.to_thread(folder.cleanup)
