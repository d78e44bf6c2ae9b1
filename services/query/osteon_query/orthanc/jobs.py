"""Orthanc REST: jobs. Their params are not shown: they may contain secrets."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.jobs.error_codes import description_of
from osteon.jobs.port import Job, JobCommand, JobState
from osteon_query.app_state import AppStateDep
from osteon_query.archives.jobs import key_of
from osteon_query.http.errors import UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.orthanc.resource_lists import asks_to_expand

router = APIRouter(tags=["Jobs"])


@router.get("/jobs")
async def jobs(request: Request, state: AppStateDep) -> Response:
    """List jobs, the newest first: identifiers, or all there is to know with `expand`."""
    found = await state.jobs.list()
    return json_response([job_json(job) if asks_to_expand(request) else job.id for job in found])


@router.get("/jobs/{id}")
async def job(state: AppStateDep, id: str) -> Response:
    """Describe a job: state, progress, times, error and content."""
    return json_response(job_json(await state.jobs.get(id)))


@router.delete("/jobs/{id}")
async def delete(state: AppStateDep, id: str) -> Response:
    """Forget a job that is over."""
    await state.jobs.delete(id)
    await state.objects.delete(key_of(id))
    return json_response({})


@router.post("/jobs/{id}/{command}")
async def act(state: AppStateDep, id: str, command: str) -> Response:
    """Cancel, pause, resume or resubmit a job."""
    if command not in set(JobCommand):
        raise UnknownResource(f"/jobs/{{id}}/{command[:40]}: expected one of {', '.join(JobCommand)}")
    await state.jobs.command(id, JobCommand(command))
    return json_response({})


@router.get("/jobs/{id}/{output}")
async def output(state: AppStateDep, id: str, output: str) -> Response:
    """Refuse: no job has another file to offer than an archive."""
    found = await state.jobs.get(id)
    raise UnknownResource(f"a job of the type {found.type} has no output {output[:40]!r}")


def job_json(job: Job) -> dict[str, Any]:
    """Return a job in Orthanc's words."""
    now = datetime.now(UTC)
    shown: dict[str, Any] = {
        "ID": job.id,
        "Type": job.type,
        "State": job.state.value,
        "Progress": job.progress,
        "Priority": job.priority,
        "CreationTime": _moment(job.created),
        "EffectiveRuntime": round(job.runtime, 3),
        "Timestamp": _moment(now),
        "ErrorCode": job.error_code,
        "ErrorDescription": description_of(job.error_code),
        "ErrorDetails": job.error,
        "Content": dict(job.content),
    }
    if job.completed is not None:
        shown["CompletionTime"] = _moment(job.completed)
    if job.state is JobState.RUNNING and job.progress:
        rest = timedelta(seconds=job.runtime * (100 - job.progress) / job.progress)
        shown["EstimatedTimeOfArrival"] = _moment(now + rest)
    return shown


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")
