"""The response of STOW-RS: its status (PS3.18 10.5.3) and the Store Instances Response Module (PS3.18 annex I)."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.xml import to_xml
from osteon_query.http.accept import DICOM_JSON, DICOM_XML, media_ranges
from osteon_query.http.errors import NotAcceptable
from osteon_query.packs.upload_result import UploadResult, UploadStatus

_REASONS: Final = {
    UploadStatus.CONFLICT: 0x0111,
    UploadStatus.MISPLACED: 0xA900,
    UploadStatus.UNIDENTIFIED: 0xA900,
    UploadStatus.UNSUPPORTED: 0xC122,
    UploadStatus.UNREADABLE: 0xC000,
}
"""Failure Reason (0008,1197), PS3.18 Table I.2-2 and PS3.7 C.5: duplicate SOP instance, data set does not match SOP
class (as C-STORE says when a UID is missing), transfer syntax not supported, cannot understand."""
_DAMAGED: Final = 0xB007
"""Warning Reason (0008,1196) of an instance that is kept although its header cannot be read to its end, or its pixel
data is not as its attributes say (PS3.18 Table I.2-1: data set does not match SOP class)."""
_STORED: Final = frozenset({UploadStatus.STORED, UploadStatus.DUPLICATE, UploadStatus.PENDING})
_JSON: Final = frozenset({DICOM_JSON, "application/json", "application/*", "*/*"})


def answers_as_json(request: Request) -> bool:
    """Choose between DICOM JSON (True) and XML (10.5.4); raises `NotAcceptable`."""
    for entry in media_ranges(request):
        if entry.type in _JSON:
            return True
        if entry.accepts(DICOM_XML):
            return False
    raise NotAcceptable(f"the response is sent as {DICOM_JSON} or {DICOM_XML}, and Accept has neither")


def store_response(received: Sequence[UploadResult], dicomweb: str, study: str | None, *, as_json: bool) -> Response:
    """Report the status of each instance; `dicomweb` is the base URL, `study` that of the request's URL."""
    stored = [entry for entry in received if entry.status in _STORED]
    headers = {}
    if any(entry.status is UploadStatus.PENDING for entry in stored):
        headers["Warning"] = '299 osteon "Stored, but not indexed yet: it will be found later"'
    studies = {entry.identity.study_uid for entry in stored if entry.identity}
    module: dict[str, Any] = {}
    if len(studies) == 1:
        module["00081190"] = _url(f"{dicomweb}/studies/{study or studies.pop()}")
    failed = [entry for entry in received if entry.status not in _STORED]
    if named := [_failure(entry) for entry in failed if entry.identity]:
        module["00081198"] = {"vr": "SQ", "Value": named}
    if stored:
        module["00081199"] = {"vr": "SQ", "Value": [_reference(entry, dicomweb) for entry in stored]}
    if other := [_failure(entry) for entry in failed if not entry.identity]:
        module["0008119A"] = {"vr": "SQ", "Value": other}
    body = orjson.dumps(module) if as_json else to_xml(module)
    return Response(body, _status(received, stored), headers, DICOM_JSON if as_json else DICOM_XML)


def _status(received: Sequence[UploadResult], stored: Sequence[UploadResult]) -> int:
    """Choose the status (Table 10.5.3-1)."""
    if len(stored) == len(received):
        return 202 if any(entry.status is UploadStatus.PENDING or entry.detail for entry in stored) else 200
    if stored:
        return 202
    return 400 if all(entry.status is UploadStatus.UNREADABLE for entry in received) else 409


def _reference(entry: UploadResult, dicomweb: str) -> dict[str, Any]:
    assert entry.identity is not None
    i = entry.identity
    url = _url(f"{dicomweb}/studies/{i.study_uid}/series/{i.series_uid}/instances/{i.sop_uid}")
    warning = {"00081196": {"vr": "US", "Value": [_DAMAGED]}} if entry.detail else {}
    return {**_comment(entry), **_uids(entry), "00081190": url, **warning}


def _failure(entry: UploadResult) -> dict[str, Any]:
    reason = {"00081197": {"vr": "US", "Value": [_REASONS[entry.status]]}}
    return {**_comment(entry), **_uids(entry), **reason}


def _comment(entry: UploadResult) -> dict[str, Any]:
    """Error Comment (0000,0902): what was wrong, for the person who reads the answer."""
    return {"00000902": {"vr": "LO", "Value": [entry.detail.replace("\\", "/")[:64]]}} if entry.detail else {}


def _uids(entry: UploadResult) -> dict[str, Any]:
    if entry.identity is None:
        return {}
    return {
        "00081150": {"vr": "UI", "Value": [entry.identity.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [entry.identity.sop_uid]},
    }


def _url(url: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [url]}
