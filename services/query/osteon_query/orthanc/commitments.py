"""Orthanc REST: storage commitment of modalities, and its reports (PS3.4 Annex J, as SCU)."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope
from osteon.commitment.port import CommitmentFailure, CommitmentItem, FailureReason
from osteon.commitment.requests import request_commitment
from osteon.dicom.uids import is_uid
from osteon.jobs.port import Job, JobState
from osteon.remotes.orthanc_json import int_field
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import json_object
from osteon_query.http.errors import BadParameter, JobFailed, NotSupported
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id

router = APIRouter(tags=["Storage commitment"])

_MAX_TIMEOUT: Final = 86_400
_MAX_INSTANCES: Final = 60_000
_POLL_SECONDS: Final = 0.1
_NAMES: Final = {reason.value: reason.name.replace("_", " ").capitalize() for reason in FailureReason}


@router.post("/modalities/{id}/storage-commitment")
async def request(request: Request, state: AppStateDep, id: str) -> Response:
    """Request that a modality commits `DicomInstances` and the instances of `Resources`; the report is at `Path`."""
    modality = await state.remotes.modality(id)
    body = await json_object(request)
    timeout = int_field(body, "Timeout", 0, _MAX_TIMEOUT)
    items = [*_listed_items(body), *await _resource_items(state, body)]
    if not 0 < len(items) <= _MAX_INSTANCES:
        raise BadParameter(f"DicomInstances, Resources: expected 1 to {_MAX_INSTANCES} instances, got {len(items)}")
    commitment, job = await request_commitment(
        state.commitments, state.jobs, modality, items, aet=state.settings.aet, timeout=timeout
    )
    await _wait_accepted(request, state, job, timeout or state.limits.commitment_wait_seconds)
    uid = commitment.transaction_uid
    return json_response({"ID": uid, "Path": f"/storage-commitment/{uid}"})


@router.get("/storage-commitment/{uid}")
async def report(state: AppStateDep, uid: str) -> Response:
    """Report what has been committed and what failed."""
    commitment = await state.commitments.by_transaction(uid)
    failures = [_failure(failure) for failure in commitment.failures or ()]
    return json_response(
        {
            "RemoteAET": commitment.remote_aet,
            "Status": "Pending" if commitment.failures is None else "Failure" if failures else "Success",
            "Success": [_item(item) for item in commitment.successes],
            "Failures": failures,
        }
    )


@router.post("/storage-commitment/{uid}/remove")
async def remove(state: AppStateDep, uid: str) -> Response:
    """Refuse: instances cannot be deleted."""
    await state.commitments.by_transaction(uid)
    raise NotSupported("instances cannot be deleted from this archive, so committed ones cannot be removed")


def _item(item: CommitmentItem) -> dict[str, Any]:
    return {"SOPClassUID": item.sop_class_uid, "SOPInstanceUID": item.sop_instance_uid}


def _failure(failure: CommitmentFailure) -> dict[str, Any]:
    description = _NAMES.get(failure.reason, f"Failure reason 0x{failure.reason:04X}")
    return {**_item(failure.item), "FailureReason": failure.reason, "Description": description}


def _listed_items(body: Mapping[str, Any]) -> list[CommitmentItem]:
    """Return `DicomInstances`: objects, or arrays of SOP class and SOP instance UID."""
    given = body.get("DicomInstances", [])
    if not isinstance(given, list):
        raise BadParameter("DicomInstances: expected an array")
    items: list[CommitmentItem] = []
    for each in given:
        pair = [each.get("SOPClassUID"), each.get("SOPInstanceUID")] if isinstance(each, dict) else each
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(u, str) and is_uid(u) for u in pair):
            example = '{"SOPClassUID": "1.2", "SOPInstanceUID": "1.2.3"}'
            raise BadParameter(f"DicomInstances: expected items such as {example}")
        items.append(CommitmentItem(*pair))
    return items


async def _resource_items(state: AppState, body: Mapping[str, Any]) -> list[CommitmentItem]:
    """Return the instances of `Resources`; raises `ResourceNotFound`."""
    given = body.get("Resources", [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise BadParameter("Resources: expected an array of identifiers")
    items: list[CommitmentItem] = []
    for each in given:
        async for found in state.index.locate(InstanceScope(public_id=resource_id(each))):
            items.append(CommitmentItem(found.identity.sop_class_uid, found.identity.sop_uid))
            if len(items) > _MAX_INSTANCES:
                return items
    return items


async def _wait_accepted(request: Request, state: AppState, job: Job, seconds: float) -> None:
    """Wait a while for the job to end; raises `JobFailed`. A modality that is down is retried later."""
    until = time.monotonic() + seconds
    while job.state is not JobState.SUCCESS and time.monotonic() < until and not await request.is_disconnected():
        if job.state is JobState.FAILURE:
            raise JobFailed(f"job {job.id}: {job.error or 'failed'}")
        if job.state is JobState.RETRY:
            return
        await asyncio.sleep(_POLL_SECONDS)
        job = await state.jobs.get(job.id)
