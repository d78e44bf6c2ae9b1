"""REST of Osteon's own: corrected attributes that are laid over studies, and what they were before."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Match
from osteon.contracts.reconciliation import CorrectionEvent, PatientCorrected, Reconciliation
from osteon.dicom.identity import public_id
from osteon.dicom.models import Level
from osteon.errors import NotFound
from osteon.jobs.port import Job
from osteon.reconciliation.requests import apply_correction, reconcile_study, studies_of, undo
from osteon_query.app_state import AppState, AppStateDep, client_key
from osteon_query.http.bodies import json_object
from osteon_query.http.errors import BadParameter
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import correlation_id, limit_of, optional_uid, resource_id
from osteon_query.orthanc.resource_json import timestamp
from osteon_query.orthanc.resource_types import RESOURCE_TYPES
from osteon_query.remotes.job_submission import is_synchronous, wait_for_jobs

router = APIRouter(tags=["Reconciliation"])

_MOST_STUDIES: Final = 100
"""Studies that one request by accession number reconciles: one order has a few."""
_STATES: Final = {"active": True, "undone": False, "all": None}
_LONGEST: Final = 256
"""Characters of who asks and why."""
_RESOURCE: Final = re.compile(r"/(patients|studies|series|instances)/([0-9A-Fa-f-]{44})(?=/|$)")

Begun = tuple[Reconciliation, Job]


@router.post("/studies/{id}/reconcile")
async def reconcile(request: Request, state: AppStateDep, id: str) -> Response:
    """Lay corrected attributes over a study: `{"Replace": {"PatientName": …}, "Reason": …, "Requester": …}`.

    What was received stays stored. The response waits for the end, or not with `Asynchronous`.
    """
    body = await json_object(request)
    match = await state.index.get(Level.STUDY, resource_id(id))
    return await _respond(request, state, body, [await _begin(request, state, match, body)], single=True)


@router.post("/tools/reconcile")
async def reconcile_by_accession_number(request: Request, state: AppStateDep) -> Response:
    """Do as `/studies/{id}/reconcile` for all studies of an `AccessionNumber`, which is spelled as in the studies."""
    body = await json_object(request)
    value = _text(body, "AccessionNumber")
    if not value:
        raise BadParameter("AccessionNumber: is missing")
    found = [match async for match in studies_of(state.index, "AccessionNumber", value)]
    if not found:
        raise NotFound(f"no study has the Accession Number {value[:80]!r}")
    if len(found) > _MOST_STUDIES:
        raise BadParameter(
            f"AccessionNumber: {len(found)} studies have it; at most {_MOST_STUDIES} are changed at once"
        )
    begun = [await _begin(request, state, match, body) for match in found]
    return await _respond(request, state, body, begun)


@router.post("/tools/correct-patient")
async def correct_patient(request: Request, state: AppStateDep) -> Response:
    """Reconcile all studies of a patient: what ADT^A08 (update) and ADT^A40 (merge) of HL7 say.

    `{"Event": "PatientUpdated", "PatientID": …, "Replace": {…}}`, or `{"Event": "PatientsMerged", "PatientID": …,
    "PriorPatientID": …}`: the prior one becomes the patient who remains. It may come again.
    """
    body = await json_object(request)
    try:
        event = CorrectionEvent(_text(body, "Event"))
    except ValueError:
        raise BadParameter(f"Event: expected one of {', '.join(CorrectionEvent)}") from None
    patient = _text(body, "PatientID")
    if not patient:
        raise BadParameter("PatientID: is missing")
    correction = PatientCorrected(
        correlation_id=correlation_id(request),
        event=event,
        patient_id=patient,
        prior_patient_id=_text(body, "PriorPatientID"),
        replace=_replacements(body) if "Replace" in body else {},
        requester=_requester(request, body),
        reason=_text(body, "Reason"),
    )
    begun = await apply_correction(correction, objects=state.objects, index=state.reconciliation)
    return await _respond(request, state, body, begun)


@router.get("/reconciliations")
async def listing(request: Request, state: AppStateDep) -> Response:
    """List reconciliations, oldest first.

    Query: `state` `active`, `undone` or `all` (the default); `study` a Study Instance UID; `after` is the last `ID`
    seen, `limit` at most 1000.
    """
    query = request.query_params
    chosen = query.get("state", "all")
    if chosen not in _STATES:
        raise BadParameter(f"state: expected one of {', '.join(_STATES)}, got {chosen[:80]!r}")
    found = await state.reconciliation.reconciliations.page(
        after=query.get("after", ""),
        limit=limit_of(request),
        study_uid=optional_uid(request, "study"),
        active=_STATES[chosen],
    )
    return json_response([_object(each) for each in found])


@router.get("/reconciliations/{id}")
async def single(state: AppStateDep, id: str) -> Response:
    """Describe a reconciliation: what it replaced by what, who asked for it, when and why."""
    return json_response(_object(await state.reconciliation.reconciliations.get(id)))


@router.post("/reconciliations/{id}/undo")
async def take_back(request: Request, state: AppStateDep, id: str) -> Response:
    """Take a reconciliation back; others of the study stay. `{"Requester": …}`; repeating it changes nothing."""
    body = await json_object(request)
    found = await state.reconciliation.reconciliations.get(id)
    undone = await undo(found, objects=state.objects, index=state.reconciliation, requester=_requester(request, body))
    return await _respond(request, state, body, [undone], single=True)


async def _begin(request: Request, state: AppState, match: Match, body: Mapping[str, Any]) -> Begun:
    return await reconcile_study(
        match,
        _replacements(body),
        objects=state.objects,
        index=state.reconciliation,
        requester=_requester(request, body),
        reason=_text(body, "Reason"),
        correlation_id=correlation_id(request),
    )


async def _respond(
    request: Request, state: AppState, body: Mapping[str, Any], begun: Sequence[Begun], *, single: bool = False
) -> Response:
    """Wait for the jobs, unless the client does not want to, and say what the studies are called then."""
    if is_synchronous(body):
        await wait_for_jobs(request, state.jobs, [job for _, job in begun])
    answers = [{**_object(made), "Job": {"ID": job.id, "Path": f"/jobs/{job.id}"}} for made, job in begun]
    return json_response(answers[0] if single else answers)


def _object(made: Reconciliation) -> dict[str, Any]:
    patient_id = made.replace.get("PatientID")
    study = made.sources[0] if patient_id is None or not made.active else public_id(patient_id, made.study_uid)
    return {
        "ID": made.reconciliation_id,
        "Path": f"/reconciliations/{made.reconciliation_id}",
        "State": "active" if made.active else "undone",
        "StudyInstanceUID": made.study_uid,
        "Study": study,
        "OriginalStudies": list(made.sources),
        "Replace": made.replace,
        "Before": made.before,
        "Requester": made.requester,
        "Reason": made.reason,
        "Created": timestamp(made.created_at),
        "Undone": None if made.undone_at is None else timestamp(made.undone_at),
        "UndoneRequester": made.undone_requester,
    }


def _replacements(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("Replace")
    if not isinstance(given, dict):
        raise BadParameter("Replace: expected an object of attributes by their keywords")
    return given


def _requester(request: Request, body: Mapping[str, Any]) -> str:
    return _text(body, "Requester") or client_key(request)


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise BadParameter(f"{field}: expected text of at most {_LONGEST} characters")
    return value.strip()


async def moved_to(request: Request) -> str | None:
    """Return the URL of a resource that has another identifier since it was corrected, None when it never had this."""
    found = _RESOURCE.match(request.url.path)
    if found is None or request.method not in ("GET", "HEAD"):
        return None
    state: AppState = request.app.state.app_state
    level = next(kind.level for kind in RESOURCE_TYPES if kind.segment == found[1])
    try:
        current = await state.reconciliation.current_id(level, found[2].lower())
    except NotFound:
        return None
    if current == found[2].lower():
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/{found[1]}/{current}{request.url.path[found.end() :]}{query}"
