"""Jobs that REST begins: answered at once, or when they are over."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from osteon.errors import Invalid
from osteon.jobs.port import Job, Jobs, JobState
from osteon.remotes.job_params import JobParams
from osteon.remotes.orthanc_json import bool_field, int_field
from osteon_query.http.errors import JobFailed
from osteon_query.http.json_response import json_response

_FINAL_STATES: Final = frozenset({JobState.SUCCESS, JobState.FAILURE})
_FIRST_POLL_SECONDS, _MAX_POLL_SECONDS = 0.05, 1.0
_MAX_PRIORITY: Final = 1_000_000


async def submit(
    request: Request, jobs: Jobs, job_params: JobParams, content: Mapping[str, Any], body: Mapping[str, Any]
) -> Response:
    """Begin a job; `body` says by `Synchronous` or `Asynchronous` whether the response waits for its end.

    Returns `{ID, Path}`, or the content of the job; raises `JobFailed`. When the client goes away, the job goes
    on. A job with a waiting client is not retried: the client gets the first error at once.
    """
    priority = int_field(body, "Priority", -_MAX_PRIORITY, _MAX_PRIORITY)
    waits = is_synchronous(body)
    params = job_params.params() | ({"patience": 0} if waits else {})
    job = await jobs.submit(job_params.TYPE, params, content=content, priority=priority)
    if not waits:
        return json_response({"ID": job.id, "Path": f"/jobs/{job.id}"})
    ended = await _ended(request, jobs, job)
    return json_response({"Description": "REST API", **ended.content})


async def wait_for_jobs(request: Request, jobs: Jobs, submitted: Sequence[Job]) -> None:
    """Wait for the end of jobs, or until the client goes away; raises `JobFailed` for the first that failed."""
    for job in submitted:
        await _ended(request, jobs, job)


async def _ended(request: Request, jobs: Jobs, job: Job) -> Job:
    pause = _FIRST_POLL_SECONDS
    while job.state not in _FINAL_STATES and not await request.is_disconnected():
        await asyncio.sleep(pause)
        pause = min(_MAX_POLL_SECONDS, pause * 1.5)
        job = await jobs.get(job.id)
    if job.state is JobState.FAILURE:
        raise JobFailed(f"job {job.id}: {job.error or 'failed'}")
    return job


def is_synchronous(body: Mapping[str, Any]) -> bool:
    """Whether a client waits for the end of what it begins: by default. Raises `Invalid`."""
    synchronous = bool_field(body, "Synchronous", default=True)
    asynchronous = bool_field(body, "Asynchronous", default=not synchronous)
    if "Synchronous" in body and "Asynchronous" in body and synchronous is asynchronous:
        raise Invalid("Synchronous and Asynchronous contradict each other")
    return not asynchronous
