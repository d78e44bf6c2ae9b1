"""Destinations of routing: open circuits, failed jobs, and submitting these again."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from osteon.jobs.port import Job, JobCommand, JobNotFound, JobState, WrongState
from osteon.remotes.job_params import ModalityStoreParams, PeerStoreParams
from osteon.rules.errors import BadRule
from osteon.rules.parsing import parse_stored
from osteon.rules.port import Circuit, Destination, DestinationKind
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.errors import UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.orthanc.resource_json import timestamp

router = APIRouter(tags=["Routing"])

_TYPES: Final = (ModalityStoreParams.TYPE, PeerStoreParams.TYPE)
_MAX_JOBS: Final = 10_000
"""Failed jobs that are searched, the newest."""


@router.get("/destinations")
async def destinations(state: AppStateDep) -> Response:
    """List the destinations of rules, and those that have failed and did not work since."""
    used: dict[str, list[str]] = {}
    for stored in await state.rules.all():
        with suppress(BadRule):  # /rules shows it
            for destination in parse_stored(stored).send:
                used.setdefault(str(destination), []).append(stored.name)
    circuits = {circuit.destination: circuit for circuit in await state.circuits.all()}
    names = sorted(used.keys() | circuits.keys())
    return json_response({name: _object(circuits.get(name), used.get(name, [])) for name in names})


@router.get("/destinations/{kind}/{name}/failed")
async def failed(state: AppStateDep, kind: str, name: str) -> Response:
    """List the jobs that have failed for good, the newest first."""
    return json_response([failure_object(job) for job in await failed_jobs(state, _is_for(kind, name))])


@router.post("/destinations/{kind}/{name}/replay")
async def replay(state: AppStateDep, kind: str, name: str) -> Response:
    """Submit the jobs again that have failed for good; the destination is tried at once."""
    chosen = _is_for(kind, name)
    await state.circuits.close(f"{kind}:{name}")
    return json_response(await replay_all(state, chosen))


@router.post("/destinations/{kind}/{name}/reset")
async def reset(state: AppStateDep, kind: str, name: str) -> Response:
    """Forget that a destination has failed: it is tried by the next job."""
    _is_for(kind, name)
    await state.circuits.close(f"{kind}:{name}")
    return json_response({})


async def failed_jobs(state: AppState, chosen: Callable[[Job], bool]) -> list[Job]:
    """Return the jobs that send and have failed for good, of the newest 10,000."""
    found = await state.jobs.list(states=(JobState.FAILURE,), types=_TYPES, limit=_MAX_JOBS)
    return [job for job in found if chosen(job)]


async def replay_all(state: AppState, chosen: Callable[[Job], bool]) -> dict[str, list[str]]:
    """Submit failed jobs again, the oldest first; return their identifiers."""
    replayed = []
    for job in reversed(await failed_jobs(state, chosen)):
        with suppress(JobNotFound, WrongState):  # another request was faster
            await state.jobs.command(job.id, JobCommand.RESUBMIT)
            replayed.append(job.id)
    return {"Replayed": replayed}


def failure_object(job: Job) -> dict[str, Any]:
    """Describe a job that has failed."""
    return {
        "ID": job.id,
        "Path": f"/jobs/{job.id}",
        "Rule": job.params.get("rule"),
        "Destination": _destination_of(job),
        "CreationTime": timestamp(job.created),
        **({"CompletionTime": timestamp(job.completed)} if job.completed else {}),
        "ErrorDetails": job.error,
    }


def _is_for(kind: str, name: str) -> Callable[[Job], bool]:
    if kind not in set(DestinationKind):
        raise UnknownResource(f"{kind[:80]!r} is not a kind of destination: expected modality or peer")
    wanted = str(Destination(DestinationKind(kind), name))
    return lambda job: _destination_of(job) == wanted


def _destination_of(job: Job) -> str:
    kind = DestinationKind.PEER if job.type == PeerStoreParams.TYPE else DestinationKind.MODALITY
    return str(Destination(kind, str(job.params.get(kind.value, ""))))


def _object(circuit: Circuit | None, rules: list[str]) -> dict[str, Any]:
    if circuit is None:
        return {"State": "closed", "Failures": 0, "Rules": rules}
    return {
        "State": circuit.state(datetime.now(UTC)).value,
        "Failures": circuit.failures,
        "Error": circuit.error,
        "Since": timestamp(circuit.since),
        **({"Retry": timestamp(circuit.retry)} if circuit.retry else {}),
        "Rules": rules,
    }
