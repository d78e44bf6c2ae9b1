"""STOW-RS: store instances (PS3.18 10.5)."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon_query.http.accept import DICOM, DICOM_JSON, MULTIPART, require_json
from osteon_query.http.bodies import (
    boundary_of,
    content_type,
    limited,
    write_file,
    write_parts,
)
from osteon_query.http.context import Door, DoorOf, correlation_id, dicomweb_url, uid_of
from osteon_query.http.errors import BadBody, UnsupportedMediaType
from osteon_query.packs.received import Fate, Received

router = APIRouter(prefix="/dicom-web/studies", tags=["STOW-RS"])

UPLOAD_LIMIT: Final = "OSTEON_UPLOAD_LIMIT"
_REASONS: Final = {Fate.CONFLICT: 0x0111, Fate.MISPLACED: 0xA900, Fate.UNREADABLE: 0xC000}
"""Failure Reason (0008,1197), PS3.18 Table I.2-2: duplicate SOP instance, mismatch, can not understand."""
_NOT_READ: Final = 0xB007
"""Warning Reason (0008,1196) of an instance that is kept although its header can not be read to its end."""
_KEPT: Final = frozenset({Fate.STORED, Fate.DUPLICATE, Fate.PENDING})


@router.post("")
async def store(request: Request, door: DoorOf) -> Response:
    """Store instances of any study."""
    return await _store(request, door, None)


@router.post("/{study}")
async def store_in_study(request: Request, door: DoorOf, study: str) -> Response:
    """Store instances of one study; those of others are refused."""
    return await _store(request, door, uid_of("the study", study))


async def _store(request: Request, door: Door, study: str | None) -> Response:
    require_json(request)
    media_type, parameters = content_type(request)
    _check_type(media_type, parameters)
    remote = request.client.host if request.client else ""
    async with (
        door.uploads.open(correlation_id(request), remote) as upload,
        aclosing(limited(request, door.settings.upload_limit, UPLOAD_LIMIT)) as body,
    ):
        if media_type == DICOM:
            await write_file(body, path := upload.new_path())
            await upload.add(path, study_uid=study)
        else:
            async for _, path, _ in write_parts(body, boundary_of(parameters), upload.new_path):
                await upload.add(path, study_uid=study)
        received = await upload.finish()
    if not received:
        raise BadBody("the body has no part: nothing was stored")
    return _answer(received, dicomweb_url(request, door), study)


def _check_type(media_type: str, parameters: dict[str, str]) -> None:
    kind = parameters.get("type", DICOM).lower()
    if media_type == DICOM or (media_type == MULTIPART and kind == DICOM):
        return
    given = f"{media_type}; type={kind}" if media_type == MULTIPART else media_type
    raise UnsupportedMediaType(
        f'instances are taken as {MULTIPART}; type="{DICOM}" or {DICOM}, the Content-Type is {given[:200]!r}'
    )


def _answer(received: Sequence[Received], dicomweb: str, study: str | None) -> Response:
    kept = [entry for entry in received if entry.fate in _KEPT]
    headers = {}
    if any(entry.fate is Fate.PENDING for entry in kept):
        headers["Warning"] = '299 osteon "Stored, but not indexed yet: it will be found later"'
    body = orjson.dumps(_response_module(received, kept, dicomweb, study))
    return Response(body, _status(received, kept), headers, DICOM_JSON)


def _status(received: Sequence[Received], kept: Sequence[Received]) -> int:
    """Choose the status (PS3.18 Table 10.5.3-1)."""
    if len(kept) == len(received):
        return 202 if any(entry.fate is Fate.PENDING or entry.detail for entry in kept) else 200
    if kept:
        return 202
    return 400 if all(entry.fate is Fate.UNREADABLE for entry in received) else 409


def _response_module(
    received: Sequence[Received], kept: Sequence[Received], dicomweb: str, study: str | None
) -> dict[str, Any]:
    """Build the Store Instances Response Module (PS3.18 Table 10.5.3-2)."""
    studies = {entry.identity.study_uid for entry in kept if entry.identity}
    body: dict[str, Any] = {}
    if len(studies) == 1:
        body["00081190"] = _url(f"{dicomweb}/studies/{study or studies.pop()}")
    failed = [entry for entry in received if entry.fate not in _KEPT]
    if named := [_failure(entry) for entry in failed if entry.identity]:
        body["00081198"] = {"vr": "SQ", "Value": named}
    if kept:
        body["00081199"] = {"vr": "SQ", "Value": [_reference(entry, dicomweb) for entry in kept]}
    if other := [_failure(entry) for entry in failed if not entry.identity]:
        body["0008119A"] = {"vr": "SQ", "Value": other}
    return body


def _reference(entry: Received, dicomweb: str) -> dict[str, Any]:
    assert entry.identity is not None
    i = entry.identity
    reference = {
        **_names(entry),
        "00081190": _url(f"{dicomweb}/studies/{i.study_uid}/series/{i.series_uid}/instances/{i.sop_uid}"),
    }
    if entry.detail:
        reference |= {"00081196": {"vr": "US", "Value": [_NOT_READ]}, **_comment(entry)}
    return reference


def _failure(entry: Received) -> dict[str, Any]:
    reason = {"00081197": {"vr": "US", "Value": [_REASONS[entry.fate]]}}
    return {**_names(entry), **reason, **_comment(entry)}


def _comment(entry: Received) -> dict[str, Any]:
    """Error Comment (0000,0902): what was wrong, for the person who reads the answer."""
    return {"00000902": {"vr": "LO", "Value": [entry.detail.replace("\\", "/")[:64]]}} if entry.detail else {}


def _names(entry: Received) -> dict[str, Any]:
    if entry.identity is None:
        return {}
    return {
        "00081150": {"vr": "UI", "Value": [entry.identity.sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [entry.identity.sop_uid]},
    }


def _url(url: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [url]}
