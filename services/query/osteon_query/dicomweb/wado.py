"""WADO-RS: studies, series and instances as Part 10 files (PS3.18 10.4.1.1.1), or as their bulk data (B.10)."""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.resources import InstanceScope
from osteon.contracts.imaging import RENDERING
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.dicomweb.bulk_resources import send_all
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resolve import ResolvedInstances, resolve, scope_of
from osteon_query.dicomweb.syntax_selection import SyntaxSelection
from osteon_query.dicomweb.zip_names import with_names
from osteon_query.http.accept import DICOM, OCTETS, ZIP, AcceptedSyntaxes, media_ranges, negotiate_instances
from osteon_query.http.conditional import not_modified, validator_headers
from osteon_query.http.errors import NotAcceptable
from osteon_query.http.request_values import correlation_id, requests_original
from osteon_query.http.streaming import stream_response
from osteon_query.packs.file_response import attachment, send_file
from osteon_query.packs.instance_reader import (
    part10_start,
    read_as_stored,
    read_instances,
    read_once,
    transcode_instance,
)
from osteon_query.packs.items import SentCounter, count_bytes
from osteon_query.packs.zip_stream import write_zip

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_PURPOSE: Final = "wado"
SERIES: Final = "/{study}/series/{series}"
INSTANCE: Final = "/{study}/series/{series}/instances/{instance}"


@router.get("/{study}")
async def retrieve_study(request: Request, state: AppStateDep, study: str) -> Response:
    """Send all instances of a study."""
    return await _instances(request, state, scope_of(study))


@router.get(SERIES)
async def retrieve_series(request: Request, state: AppStateDep, study: str, series: str) -> Response:
    """Send all instances of a series."""
    return await _instances(request, state, scope_of(study, series))


@router.get(INSTANCE)
async def retrieve_instance(request: Request, state: AppStateDep, study: str, series: str, instance: str) -> Response:
    """Send one instance, as multipart, alone, or in an archive."""
    return await _instances(request, state, scope_of(study, series, instance))


async def _instances(request: Request, state: AppState, scope: InstanceScope) -> Response:
    try:
        requested = negotiate_instances(request, single=bool(scope.sop_uids))
    except NotAcceptable:
        if any(entry.root == OCTETS for entry in media_ranges(request)):
            return await send_all(request, state, scope)  # as in PS3.18 B.10
        raise
    found = await resolve(state, scope, original=requests_original(request))
    if not requested.multipart and not requested.zipped:
        return await send_instance(request, state, found, requested.syntaxes, purpose=_PURPOSE)
    # Weak: the boundary of the parts is another one each time.
    tag = f"W/{found.tag(requested, RENDERING)}" if found.rest is None else ""
    if known := tag and not_modified(request, tag):
        return known
    selection = SyntaxSelection(found, requested.syntaxes)
    headers = validator_headers(tag, *found.first) if tag else {}
    if selection.omitted:
        headers["Warning"] = f'299 {dicomweb_url(request, state)} "{selection.explain()}"'
    status = 206 if selection.omitted else 200
    requests = selection.all_requests()
    if requested.zipped:
        requests = with_names(state.sidecars, requests)
    if selection.as_stored:
        items = read_as_stored(state.objects, requests)
    else:
        items = read_instances(state.objects, state.transcoder, requests, correlation_id(request))
    if requested.zipped:
        name = found.first[0].identity.study_uid
        headers |= {"Content-Type": ZIP, "Content-Disposition": attachment(f"{name}.zip")}
        return await stream_response(request, write_zip(items, SentCounter(_PURPOSE)), headers, status)
    at = (each.location for each in selection.requests)
    parts = [part10_start(one.transfer_syntax_uid, one.length) for one in at] if selection.as_stored else None
    return await send_multipart(request, items, DICOM, headers=headers, parts=parts, status=status, purpose=_PURPOSE)


async def send_instance(
    request: Request, state: AppState, found: ResolvedInstances, syntaxes: AcceptedSyntaxes, *, purpose: str
) -> Response:
    """Send one instance alone; raises `NotAcceptable` when none of the transfer syntaxes is possible."""
    (requested,) = SyntaxSelection(found, syntaxes).requests
    if not requested.targets:
        return await send_file(request, state.objects, requested.location, purpose=purpose)
    tag = found.tag(syntaxes, RENDERING)
    if known := not_modified(request, tag):
        return known
    file = await transcode_instance(state.objects, state.transcoder, requested, correlation_id(request))
    if file.transfer_syntax_uid == requested.location.transfer_syntax_uid:
        return await send_file(request, state.objects, requested.location, purpose=purpose)
    headers = validator_headers(tag, requested.location) | {
        "Content-Type": f"{DICOM}; transfer-syntax={file.transfer_syntax_uid}",
        "Content-Length": str(file.length),
        "Content-Disposition": attachment(f"{requested.location.identity.sop_uid}.dcm"),
    }
    metrics.HTTP_ITEMS_SENT.labels(purpose).inc()
    content = read_once(state.objects, state.transcoder, file)
    return await stream_response(request, count_bytes(content, purpose), headers)
