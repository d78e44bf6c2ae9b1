"""REST of Osteon's own: instances of which several versions came, and deciding which one is served."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.conflicts import Conflict, Version
from osteon.archive.resources import SplitSeries, SplitStudy, UnidentifiedPatient
from osteon.conflicts import resolve
from osteon.contracts.conflicts import Keep
from osteon.dicom.attribute_names import keyword_of
from osteon.dicom.json_values import without_texts
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import json_object
from osteon_query.http.errors import BadParameter, UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import correlation_id, limit_of, number, optional_uid
from osteon_query.orthanc.resource_json import timestamp
from osteon_query.orthanc.tag_formats import format_tag
from osteon_query.packs.file_response import send_file
from osteon_query.packs.sidecars import parse_header

router = APIRouter(prefix="/conflicts", tags=["Conflicts"])

_STATES: Final = {"open": False, "resolved": True, "all": None}
_BULK: Final = "BulkDataLength"


@router.get("")
async def conflicts(request: Request, state: AppStateDep) -> Response:
    """List conflicts, oldest first.

    Query: `after` is the last `Id` seen, `limit` at most 1000; `study` a Study Instance UID of either version; `state`
    `open` (the default), `resolved` or `all`.
    """
    query = request.query_params
    chosen = query.get("state", "open")
    if chosen not in _STATES:
        raise BadParameter(f"state: expected one of {', '.join(_STATES)}, got {chosen[:80]!r}")
    found = await state.conflicts.conflicts(
        after=number("after", query.get("after", "0")),
        limit=limit_of(request),
        study_uid=optional_uid(request, "study"),
        resolved=_STATES[chosen],
    )
    return json_response([_conflict(each) for each in found])


@router.get("/studies")
async def studies(request: Request, state: AppStateDep) -> Response:
    """List studies whose images name several patients: one study to DICOM, one resource for each patient to REST.

    Query: `study` a Study Instance UID; `after` the last one seen, `limit` at most 1000.
    """
    found = await state.conflicts.split_studies(
        after=request.query_params.get("after", ""),
        limit=limit_of(request),
        study_uid=optional_uid(request, "study"),
    )
    return json_response([_split_study(each) for each in found])


@router.get("/series")
async def series(request: Request, state: AppStateDep) -> Response:
    """List series whose images name several studies.

    Query: `series` a Series Instance UID; `after` the last one seen, `limit` at most 1000.
    """
    found = await state.conflicts.split_series(
        after=request.query_params.get("after", ""),
        limit=limit_of(request),
        series_uid=optional_uid(request, "series"),
    )
    return json_response([_split_series(each) for each in found])


@router.get("/patients")
async def patients(request: Request, state: AppStateDep) -> Response:
    """List the names of studies without Patient ID: to Orthanc's identifiers they are one patient, and need not be.

    Query: `since` how many to pass over, `limit` at most 1000.
    """
    found = await state.conflicts.unidentified_patients(
        limit=limit_of(request), offset=number("since", request.query_params.get("since", "0"))
    )
    return json_response([_unidentified(each) for each in found])


@router.get("/{id}")
async def conflict(state: AppStateDep, id: str) -> Response:
    """Describe a conflict, with the elements in which its versions differ."""
    found = await _get(state, id)
    first, second = await state.sidecars.lines_if_readable([found.first.location, found.second.location])
    differing = None if first is None or second is None else await asyncio.to_thread(_differences, first, second)
    return json_response({**_conflict(found), "DifferentTags": differing})


@router.get("/{id}/{version}/file")
async def file(request: Request, state: AppStateDep, id: str, version: Keep) -> Response:
    """Send the DICOM file of the `first` or the `second` version as it came; Range is honoured."""
    found = await _get(state, id)
    where = (found.first if version is Keep.FIRST else found.second).location
    return await send_file(request, state.objects, where, purpose="file", filename=f"{where.public_id}-{version}.dcm")


@router.post("/{id}/resolve")
async def decide(request: Request, state: AppStateDep, id: str) -> Response:
    """Serve one version, `{"keep": "first"}` or `{"keep": "second"}`, and keep the other aside. May be repeated."""
    body = await json_object(request)
    try:
        keep = Keep(str(body.get("keep")))
    except ValueError:
        raise BadParameter(f'keep: expected "first" or "second", got {str(body.get("keep"))[:80]!r}') from None
    resolved = await resolve(
        _number(id), keep, objects=state.objects, index=state.conflicts, correlation_id=correlation_id(request)
    )
    return json_response(_conflict(resolved))


async def _get(state: AppState, id: str) -> Conflict:
    return await state.conflicts.conflict(_number(id))


def _number(id: str) -> int:
    if not (id.isascii() and id.isdigit() and len(id) < 19):
        raise UnknownResource(f"there is no conflict {id[:80]!r}")
    return int(id)


def _conflict(found: Conflict) -> dict[str, Any]:
    return {
        "Id": found.id,
        "State": "open" if found.resolved is None else "resolved",
        "Detected": timestamp(found.detected),
        "Resolved": None if found.resolved is None else timestamp(found.resolved),
        "Served": "first" if found.served == found.first else "second",
        "First": _version(found.first),
        "Second": _version(found.second),
    }


def _split_study(found: SplitStudy) -> dict[str, Any]:
    return {
        "StudyInstanceUID": found.study_uid,
        "Studies": [
            {
                "ID": match.public_id,
                "ParentPatient": match.patient.public_id,
                "PatientID": match.patient.attributes.get("PatientID", ""),
                "PatientName": match.patient.attributes.get("PatientName", ""),
                "CountSeries": match.study.series,
                "CountInstances": match.study.instances,
            }
            for match in found.parts
            if match.study
        ],
        "Actions": {
            "reconcile": "POST /studies/{ID}/reconcile of the wrong part, with the Patient ID of the right one",
            "keep": "searches answer it as one study, Orthanc's routes as one for each patient; nothing to do",
        },
    }


def _split_series(found: SplitSeries) -> dict[str, Any]:
    return {
        "SeriesInstanceUID": found.series_uid,
        "Series": [
            {
                "ID": match.public_id,
                "ParentStudy": match.study.public_id,
                "StudyInstanceUID": match.study.attributes["StudyInstanceUID"],
                "PatientID": match.patient.attributes.get("PatientID", ""),
                "PatientName": match.patient.attributes.get("PatientName", ""),
                "CountInstances": match.series.instances,
            }
            for match in found.parts
            if match.study and match.series
        ],
        "Actions": {
            "merge": "POST /studies/{ParentStudy}/merge puts the series into the right study, as new series",
            "keep": "two studies stay, each with its part of the series; nothing to do",
        },
    }


def _unidentified(found: UnidentifiedPatient) -> dict[str, Any]:
    return {
        "PatientName": found.name,
        "PatientBirthDate": found.birth_date,
        "CountStudies": found.studies,
        "Studies": list(found.study_ids),
        "Actions": {
            "reconcile": "POST /studies/{id}/reconcile with the Patient ID of this person, for each study",
            "keep": "the studies stay without Patient ID, and are found by their names; nothing to do",
        },
    }


def _version(version: Version) -> dict[str, Any]:
    location = version.location
    return {
        "InstanceId": location.public_id,
        "PatientID": location.identity.patient_id,
        "StudyInstanceUID": location.identity.study_uid,
        "SeriesInstanceUID": location.identity.series_uid,
        "SOPInstanceUID": location.identity.sop_uid,
        "TransferSyntaxUID": location.transfer_syntax_uid,
        "Received": timestamp(version.received),
        "Origin": version.origin.value,
        "CallingAet": version.calling_aet,
        "RemoteHost": version.remote_host,
        "Size": location.length,
        "Sha256": location.sha256.hex(),
        "Pack": version.pack_id,
        "Object": location.key,
        "Offset": location.offset,
    }


def _differences(first: SidecarLine, second: SidecarLine) -> list[dict[str, Any]]:
    """Compare two headers; of values that are not in the header (pixel data) only the lengths."""
    one, other = _elements(first), _elements(second)
    return [
        {"Tag": format_tag(tag), "Keyword": keyword_of(tag), "First": one.get(tag), "Second": other.get(tag)}
        for tag in sorted(one.keys() | other.keys())
        if one.get(tag) != other.get(tag)
    ]


def _elements(line: SidecarLine) -> Mapping[str, Any]:
    elements = dict(parse_header(without_texts(line.header.json)))
    for path, (_, length) in line.header.bulk.items():
        tag = path[:8]
        elements[tag] = {**elements.get(tag, {}), f"{_BULK}{path[8:]}": length}
    if line.header.pixel_data:
        elements[line.header.pixel_data.tag] = {_BULK: line.header.pixel_data.length}
    return elements
