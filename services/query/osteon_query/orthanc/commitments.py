"""Orthanc REST: storage commitment of modalities, and its reports (PS3.4 Annex J, as SCU)."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope
from osteon.commitment.port import Commitment, CommitmentFailure, CommitmentItem, FailureReason
from osteon.commitment.requests import request_commitment
from osteon.dicom.uids import is_uid
from osteon.jobs.port import Job, JobState
from osteon.remotes.orthanc_json import int_field
from osteon_query.http.bodies import json_object
from osteon_query.http.context import Door, DoorOf, resource_id
from osteon_query.http.errors import BadParameter, JobFailed, NotSupported
from osteon_query.orthanc.resources import json_response

router = APIRouter(tags=["Storage commitment"])

WAIT: Final = 10
"""Seconds for which the answer waits for the modality to accept the request; it goes on after that."""
_MAX_TIMEOUT: Final = 86_400
_MAX_INSTANCES: Final = 60_000
_LOOK: Final = 0.1
_NAMES: Final = {reason.value: reason.name.replace("_", " ").capitalize() for reason in FailureReason}


@router.post("/modalities/{id}/storage-commitment")
async def request(request: Request, door: DoorOf, id: str) -> Response:
    """Ask a modality to commit `DicomInstances` and the instances of `Resources`; the report is at `Path`."""
    modality = await door.index.remotes.modality(id)
    body = await json_object(request)
    timeout = int_field(body, "Timeout", 0, _MAX_TIMEOUT)
    items = [*_named(body), *await _stored(door, body)]
    if not 0 < len(items) <= _MAX_INSTANCES:
        raise BadParameter(f"DicomInstances, Resources: expected 1 to {_MAX_INSTANCES} instances, got {len(items)}")
    commitment, job = await request_commitment(
        door.index.commitments, door.index.jobs, modality, items, aet=door.settings.aet, timeout=timeout
    )
    await _accepted(request, door, job, timeout or WAIT)
    uid = commitment.transaction_uid
    return json_response({"ID": uid, "Path": f"/storage-commitment/{uid}"})


@router.get("/storage-commitment/{uid}")
async def report(door: DoorOf, uid: str) -> Response:
    """Say what has been committed."""
    commitment = await door.index.commitments.by_transaction(uid)
    failures = [_failure(failure) for failure in commitment.failures or ()]
    return json_response(
        {
            "RemoteAET": commitment.remote_aet,
            "Status": _status(commitment),
            "Success": [_item(item) for item in commitment.successes],
            "Failures": failures,
        }
    )


@router.post("/storage-commitment/{uid}/remove")
async def remove(door: DoorOf, uid: str) -> Response:
    """Refuse: instances can not be deleted."""
    await door.index.commitments.by_transaction(uid)
    raise NotSupported("instances can not be deleted from this archive, so committed ones can not be removed")


def _status(commitment: Commitment) -> str:
    if commitment.failures is None:
        return "Pending"
    return "Failure" if commitment.failures else "Success"


def _item(item: CommitmentItem) -> dict[str, Any]:
    return {"SOPClassUID": item.sop_class_uid, "SOPInstanceUID": item.sop_instance_uid}


def _failure(failure: CommitmentFailure) -> dict[str, Any]:
    description = _NAMES.get(failure.reason, f"Failure reason 0x{failure.reason:04X}")
    return {**_item(failure.item), "FailureReason": failure.reason, "Description": description}


def _named(body: Mapping[str, Any]) -> list[CommitmentItem]:
    """Return `DicomInstances`: objects, or arrays of SOP class and SOP instance UID."""
    given = body.get("DicomInstances", [])
    if not isinstance(given, list):
        raise BadParameter("DicomInstances: expected an array")
    return [_item_of(each) for each in given]


def _item_of(given: object) -> CommitmentItem:
    pair = [given.get("SOPClassUID"), given.get("SOPInstanceUID")] if isinstance(given, dict) else given
    if isinstance(pair, list) and len(pair) == 2 and all(isinstance(uid, str) and is_uid(uid) for uid in pair):
        return CommitmentItem(*pair)
    raise BadParameter('DicomInstances: expected items such as {"SOPClassUID": "1.2", "SOPInstanceUID": "1.2.3"}')


async def _stored(door: Door, body: Mapping[str, Any]) -> list[CommitmentItem]:
    """Return the instances of `Resources`; raises `ResourceNotFound`."""
    given = body.get("Resources", [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise BadParameter("Resources: expected an array of identifiers")
    items: list[CommitmentItem] = []
    for each in given:
        async for found in door.index.locate(InstanceScope(public_id=resource_id(each))):
            items.append(CommitmentItem(found.identity.sop_class_uid, found.identity.sop_uid))
            if len(items) > _MAX_INSTANCES:
                return items
    return items


async def _accepted(request: Request, door: Door, job: Job, seconds: float) -> None:
    """Wait a while for the job to end; raises `JobFailed`. A modality that is down is asked again later."""
    until = time.monotonic() + seconds
    while job.state is not JobState.SUCCESS and time.monotonic() < until and not await request.is_disconnected():
        if job.state is JobState.FAILURE:
            raise JobFailed(f"job {job.id}: {job.error or 'failed'}")
        if job.state is JobState.RETRY:
            return
        await asyncio.sleep(_LOOK)
        job = await door.index.jobs.get(job.id)
