"""Orthanc REST: ZIP archives and media of resources, as they are made or by jobs."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.dicom.pixels.registry import CODECS
from osteon.jobs.port import JobState
from osteon.objects.port import Bytes, ObjectNotFound
from osteon.remotes.orthanc_json import bool_field, int_field
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.archives.jobs import ArchiveParams, MediaParams, key_of, order_of
from osteon_query.archives.writer import ArchiveCount
from osteon_query.http.accept import ZIP
from osteon_query.http.bodies import parse_json, small_body
from osteon_query.http.byte_ranges import send_range
from osteon_query.http.errors import ArchiveCapacityExceeded, BadParameter, UnknownResource
from osteon_query.http.request_values import correlation_id, resource_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.resource_types import RESOURCE_TYPES, ResourceType
from osteon_query.packs.file_response import attachment
from osteon_query.packs.items import SentCounter
from osteon_query.packs.zip_stream import write_zip
from osteon_query.remotes.job_submission import is_synchronous, submit

router = APIRouter(tags=["Archives"])

_PURPOSE: Final = "archive"
_MOST_RESOURCES: Final = 10_000
_LONGEST_NAME: Final = 200
_UNSAFE: Final = re.compile(r"[^\w .()+=,@&\[\]-]")
_TYPES: Final[Mapping[str, type[ArchiveParams]]] = {"archive": ArchiveParams, "media": MediaParams}


def _add_routes(kind: ResourceType, form: str) -> None:
    @router.get(f"/{kind.segment}/{{id}}/{form}", name=f"{form} of {kind.type.lower()}")
    async def get(request: Request, state: AppStateDep, id: str) -> Response:
        return await _send(request, state, await _params(state, _from_query(request), (resource_id(id),), form))

    @router.post(f"/{kind.segment}/{{id}}/{form}", name=f"make {form} of {kind.type.lower()}")
    async def post(request: Request, state: AppStateDep, id: str) -> Response:
        body = await _body(request)
        given = body if isinstance(body, dict) else {}
        # Orthanc answers at once where the body is empty, and else with the archive too, unless it is asynchronous.
        return await _make(request, state, given, await _params(state, given, (resource_id(id),), form))


def _add_tool(form: str, *, extended: bool) -> None:
    path = f"/tools/create-{form}{'-extended' if extended else ''}"

    @router.get(path, name=f"{path[7:]} of resources")
    async def get(request: Request, state: AppStateDep) -> Response:
        listed = tuple(each for each in request.query_params.get("resources", "").split(",") if each)
        return await _send(
            request, state, await _params(state, _from_query(request), _checked(listed), form, extended=extended)
        )

    @router.post(path, name=f"make {path[7:]} of resources")
    async def post(request: Request, state: AppStateDep) -> Response:
        body = await _body(request)
        given = body if isinstance(body, dict) else {"Resources": body}
        listed = given.get("Resources")
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise BadParameter("Resources: expected an array of identifiers")
        params = await _params(state, given, _checked(tuple(listed)), form, extended=extended)
        return await _make(request, state, given, params)


for _kind in RESOURCE_TYPES[:3]:
    for _form in _TYPES:
        _add_routes(_kind, _form)
_add_tool("archive", extended=False)
_add_tool("media", extended=False)
_add_tool("media", extended=True)


@router.get("/jobs/{id}/archive")
async def of_job(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the archive that a job has made; Range is honoured. It is kept for a while."""
    job = await state.jobs.get(id)
    params = _TYPES.get(job.type.lower())
    if params is None or job.state is not JobState.SUCCESS:
        raise UnknownResource(f"job {id} is {job.state.value} and of the type {job.type}: it has no archive")
    key = key_of(id)
    try:
        size = await state.objects.size(key)
    except ObjectNotFound:
        raise UnknownResource(f"the archive of job {id} is not kept any more (OSTEON_ARCHIVES_KEPT)") from None

    async def source(offset: int, length: int) -> AsyncGenerator[Bytes, None]:
        async for chunk in state.objects.stream(key, offset, length):
            yield chunk

    return await send_range(request, source, size, _headers(params.model_validate(job.params)))


async def _make(request: Request, state: AppState, given: Mapping[str, Any], params: ArchiveParams) -> Response:
    """Send an archive while it is made, or begin a job when `Asynchronous` is true."""
    if is_synchronous(given):
        return await _send(request, state, params)
    content = {"Description": "REST API", "InstancesCount": 0, "Transcode": bool(params.transcode)}
    return await submit(request, state.jobs, params, content, given)


async def _send(request: Request, state: AppState, params: ArchiveParams) -> Response:
    """Send an archive while it is made. What cannot be read ends it early, so that clients find it incomplete."""
    items = state.archives.items(order_of(params), correlation_id(request), ArchiveCount())
    source = _limited(state, write_zip(items, SentCounter(_PURPOSE)))
    return await stream_response(request, source, _headers(params))


async def _limited(state: AppState, source: AsyncGenerator[Bytes, None]) -> AsyncGenerator[Bytes, None]:
    """Yield an archive, of which only so many are made at a time."""
    if state.archive_slots.locked():
        raise ArchiveCapacityExceeded("too many archives are being made (OSTEON_MAX_CONCURRENT_ARCHIVES)")
    async with state.archive_slots, aclosing(source):
        async for chunk in source:
            yield chunk


def _headers(params: ArchiveParams) -> dict[str, str]:
    return {"Content-Type": ZIP, "Content-Disposition": attachment(params.filename)}


async def _params(
    state: AppState, given: Mapping[str, Any], resources: tuple[str, ...], form: str, *, extended: bool = False
) -> ArchiveParams:
    """Return what is ordered; raises `BadParameter`, and `ResourceNotFound` before anything is sent."""
    transcode = given.get("Transcode", "")
    if transcode not in ("", *CODECS):
        raise BadParameter(f"Transcode: {str(transcode)[:80]!r} is not a transfer syntax that files can be had in")
    quality = int_field(given, "LossyQuality", 1, 100)
    name = given.get("Filename", "")
    if not isinstance(name, str):
        raise BadParameter("Filename: expected text")
    default = f"{resources[0]}.zip" if len(resources) == 1 and "Resources" not in given else "Archive.zip"
    params = _TYPES[form](
        resources=resources,
        extended=extended or bool_field(given, "Extended", default=False),
        transcode=transcode,
        quality=quality,
        utf8=bool_field(given, "Utf8", default=True),
        filename=_UNSAFE.sub("_", name)[:_LONGEST_NAME] or default,
    )
    await state.archives.check(order_of(params))
    return params


def _from_query(request: Request) -> dict[str, Any]:
    """Return the fields of a body that a query string names."""
    query = request.query_params
    names = {"transcode": "Transcode", "lossy-quality": "LossyQuality", "filename": "Filename"}
    found: dict[str, Any] = {names[name]: value for name, value in query.items() if name in names}
    for name, field in (("utf8", "Utf8"), ("extended", "Extended")):
        if name in query:
            found[field] = query[name].lower() in ("", "1", "true")
    return found


def _checked(listed: tuple[str, ...]) -> tuple[str, ...]:
    if not 0 < len(listed) <= _MOST_RESOURCES:
        raise BadParameter(f"Resources: expected 1 to {_MOST_RESOURCES} identifiers")
    return tuple(resource_id(each) for each in listed)


async def _body(request: Request) -> object:
    text = (await small_body(request)).strip()
    return parse_json(text) if text else {}
