"""DICOMweb servers as Orthanc's plugin has them: those that this archive searches, retrieves from and sends to.

They are the peers whose `DicomWeb` is true, under the same names. Passwords and headers are never shown.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.bus.port import RequestFailed
from osteon.contracts.remote import DicomWebDeleteRequest, DicomWebGetReply, DicomWebGetRequest
from osteon.contracts.topology import DICOMWEB_DELETE, DICOMWEB_GET
from osteon.dicom.uids import is_uid
from osteon.objects.port import Bytes
from osteon.remotes.job_params import PeerStoreParams, WadoRetrieveParams
from osteon.remotes.orthanc_json import peer_from, server_object
from osteon.remotes.port import Peer, RemoteNotFound, without_credentials
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.accept import DICOM_JSON
from osteon_query.http.bodies import json_body, json_object
from osteon_query.http.errors import BadParameter, NotSupported, RemoteFailed
from osteon_query.http.json_response import json_response
from osteon_query.http.problems import DICOMWEB
from osteon_query.http.request_values import correlation_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.request_bodies import known_peer, resources_of
from osteon_query.orthanc.resource_lists import asks_to_expand
from osteon_query.orthanc.tag_formats import TagFormat, write_tags
from osteon_query.remotes.job_submission import submit

router = APIRouter(prefix=f"{DICOMWEB}/servers", tags=["DICOMweb servers"])

_SECONDS: Final = 600.0
"""For an answer to come whole."""
_PARSED: Final = 64 << 20
"""Bytes of a search's answer that is converted."""
_MOST_RESOURCES: Final = 10_000
_URI: Final = re.compile(r"(/[^/?#\s\\:]+)+/?")
_RESOURCE: Final = re.compile(r"/?studies/([^/]+)(?:/series/([^/]+)(?:/instances/([^/]+))?)?/?")
_LEVELS: Final = {"Study": 1, "Series": 2, "Instance": 3}
_FIELDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_SEGMENTS: Final = ("studies", "series", "instances")


@router.get("")
async def servers(request: Request, state: AppStateDep) -> Response:
    """List the names of DICOMweb servers, or all of them by name with `expand`."""
    found = [peer for peer in await state.remotes.peers() if peer.dicomweb]
    if asks_to_expand(request):
        return json_response({peer.name: server_object(peer) for peer in found})
    return json_response([peer.name for peer in found])


@router.get("/{name}")
async def operations(state: AppStateDep, name: str) -> Response:
    """List what can be done with a server."""
    server = await _server(state, name)
    return json_response(["get", "qido", "retrieve", "stow", "wado", *(["delete"] if server.allow_delete else [])])


@router.put("/{name}")
async def put(request: Request, state: AppStateDep, name: str) -> Response:
    """Add or replace a server: `["url"]`, `["url", "user", "password"]` or an object with `HasDelete` and others."""
    body, known = await json_body(request), await known_peer(state.remotes, name)
    if known and not known.dicomweb:
        raise BadParameter(f"{name[:80]!r} is the name of a peer that is not a DICOMweb server; choose another one")
    await state.remotes.put_peer(replace(peer_from(name, body, known), dicomweb=True))
    return json_response({})


@router.delete("/{name}")
async def remove(state: AppStateDep, name: str) -> Response:
    """Remove a server from the configuration; its jobs stay."""
    await state.remotes.delete_peer((await _server(state, name)).name)
    return json_response({})


@router.post("/{name}/get")
async def get(request: Request, state: AppStateDep, name: str) -> Response:
    """Send what the server answers to GET: `{"Uri": "/studies", "Arguments": {…}, "HttpHeaders": {…}}`."""
    server, body = await _server(state, name), await json_object(request)
    reply = await _get(request, state, server, body)
    return await stream_response(request, _content(state, reply), {"Content-Type": reply.content_type or "text/plain"})


@router.post("/{name}/qido")
async def qido(request: Request, state: AppStateDep, name: str) -> Response:
    """Search: as `get`, with the matches in Orthanc's format."""
    server, body = await _server(state, name), await json_object(request)
    reply = await _get(request, state, server, body, Accept=DICOM_JSON)
    if reply.length > _PARSED:
        await state.objects.delete(reply.key)
        raise RemoteFailed(f"server {name} answered {reply.length} bytes; at most {_PARSED} are converted: use get")
    content = b"".join([bytes(chunk) async for chunk in _content(state, reply)])
    try:
        found = orjson.loads(content) if content.strip() else []  # 204: nothing matches
        return json_response([write_tags(match, TagFormat.FULL) for match in found])
    except (ValueError, TypeError, AttributeError, KeyError):
        raise RemoteFailed(f"server {name} did not answer in DICOM JSON") from None


@router.post("/{name}/stow")
async def stow(request: Request, state: AppStateDep, name: str) -> Response:
    """Send resources by STOW-RS, as a job: `{"Resources": [identifiers], "HttpHeaders": {…}, "Synchronous": …}`."""
    server = await _server(state, name)
    resources, body = await resources_of(request, state)
    params = PeerStoreParams(peer=server.name, resources=tuple(resources), headers=_pairs(body, "HttpHeaders"))
    content = {
        "Server": without_credentials(server.url),
        "ParentResources": resources,
        "InstancesCount": 0,
        "FailedInstancesCount": 0,
    }
    return await submit(request, state.jobs, params, content, body)


@router.post("/{name}/retrieve")
async def retrieve(request: Request, state: AppStateDep, name: str) -> Response:
    """Retrieve by WADO-RS and store, as a job: `{"Resources": [{"Study": …, "Series": …, "Instance": …}]}`.

    `Series` and `Instance` may be left out. The content of the job has the identifiers, `ReceivedInstancesIds`.
    """
    server, body = await _server(state, name), await json_object(request)
    given = body.get("Resources")
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_RESOURCES:
        raise BadParameter(f"Resources: expected an array of 1 to {_MOST_RESOURCES} objects")
    return await _retrieve(request, state, server, body, tuple(_uids(each) for each in given))


@router.post("/{name}/wado")
async def wado(request: Request, state: AppStateDep, name: str) -> Response:
    """Retrieve what a path names and store it, as a job: `{"Uri": "/studies/1.2/series/1.2.3"}`."""
    server, body = await _server(state, name), await json_object(request)
    found = _RESOURCE.fullmatch(_uri(body))
    if found is None:
        raise BadParameter("Uri: expected the path of a study, series or instance")
    uids = tuple(each for each in found.groups() if each)
    return await _retrieve(request, state, server, body, (_checked(uids),))


@router.post("/{name}/delete")
async def delete(request: Request, state: AppStateDep, name: str) -> Response:
    """Delete in the server: `{"Level": "Study", "StudyInstanceUID": …}`, when its `HasDelete` is true."""
    server, body = await _server(state, name), await json_object(request)
    if not server.allow_delete:
        raise NotSupported(f"server {name} may not be asked to delete: its HasDelete is false")
    depth = _LEVELS.get(str(body.get("Level")))
    if depth is None:
        raise BadParameter(f"Level: expected one of {', '.join(_LEVELS)}")
    uids = _checked(tuple(str(body.get(field, "")) for field in _FIELDS[:depth]))
    path = "".join(f"/{segment}/{uid}" for segment, uid in zip(_SEGMENTS, uids, strict=False))
    message = DicomWebDeleteRequest(correlation_id=correlation_id(request), peer=server.name, path=path)
    try:
        await state.bus.request(DICOMWEB_DELETE, message, timeout=_SECONDS)
    except RequestFailed as error:
        raise RemoteFailed(f"server {name}: {error}") from error
    return json_response({})


async def _server(state: AppState, name: str) -> Peer:
    peer = await state.remotes.peer(name)
    if not peer.dicomweb:
        raise RemoteNotFound(f"there is no DICOMweb server {name[:80]!r}; the peer of this name is not one")
    return peer


async def _get(
    request: Request, state: AppState, server: Peer, body: Mapping[str, Any], **headers: str
) -> DicomWebGetReply:
    message = DicomWebGetRequest(
        correlation_id=correlation_id(request),
        peer=server.name,
        path=_uri(body),
        parameters=tuple(_pairs(body, "Arguments").items()),
        headers={**_pairs(body, "HttpHeaders"), **headers},
    )
    try:
        reply = await state.bus.request(DICOMWEB_GET, message, timeout=_SECONDS)
    except RequestFailed as error:
        raise RemoteFailed(f"server {server.name}: {error}") from error
    if not 200 <= reply.status < 300:
        await state.objects.delete(reply.key)
        raise RemoteFailed(f"server {server.name} answered {reply.status}")
    return reply


async def _content(state: AppState, reply: DicomWebGetReply) -> AsyncGenerator[Bytes, None]:
    """Yield an answer, and delete its object."""
    try:
        async for chunk in state.objects.stream(reply.key):
            yield chunk
    finally:
        await state.objects.delete(reply.key)


async def _retrieve(
    request: Request, state: AppState, server: Peer, body: Mapping[str, Any], resources: tuple[tuple[str, ...], ...]
) -> Response:
    params = WadoRetrieveParams(
        peer=server.name,
        resources=resources,
        parameters=tuple(_pairs(body, "Arguments").items()),
        headers=_pairs(body, "HttpHeaders"),
    )
    content = {"Server": without_credentials(server.url), "ReceivedInstancesCount": 0, "ReceivedInstancesIds": []}
    return await submit(request, state.jobs, params, content, body)


def _uri(body: Mapping[str, Any]) -> str:
    """Return the path below the server's root; it may not lead out of it."""
    given = body.get("Uri")
    uri = given if isinstance(given, str) and given.startswith("/") else f"/{given}"
    if not isinstance(given, str) or not _URI.fullmatch(uri) or ".." in uri.split("/"):
        raise BadParameter('Uri: expected a path below the root of the server, such as "/studies"')
    return uri


def _pairs(body: Mapping[str, Any], field: str) -> dict[str, str]:
    given = body.get(field, {})
    texts = given.values() if isinstance(given, dict) else [None]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise BadParameter(f"{field}: expected an object of names and texts")
    return dict(given)


def _uids(given: object) -> tuple[str, ...]:
    if not isinstance(given, dict):
        raise BadParameter("Resources: expected objects with Study, Series and Instance")
    named = [given.get(level) for level in _LEVELS]
    uids = tuple(str(uid) for uid in named if uid)
    if named[: len(uids)] != list(uids) or not uids:
        raise BadParameter("Resources: a Series needs its Study, an Instance its Study and Series")
    return _checked(uids)


def _checked(uids: tuple[str, ...]) -> tuple[str, ...]:
    for uid in uids:
        if not is_uid(uid):
            raise BadParameter(f"{uid[:80]!r} is not a UID")
    return uids
