"""Orthanc REST: peers, which are other archives that speak HTTP. Their passwords and headers are never shown."""

from typing import Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.bus.port import RequestFailed
from osteon.contracts.remote import PeerSystemRequest, PeerUploadRequest
from osteon.contracts.topology import PEER, PEER_UPLOAD
from osteon.remotes.job_params import PeerStoreParams
from osteon.remotes.orthanc_json import PEER_FIELDS, bool_field, peer_from, peer_object
from osteon.remotes.port import without_credentials
from osteon_query.app_state import AppStateDep
from osteon_query.http.bodies import json_body
from osteon_query.http.errors import BadParameter, RemoteFailed
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import correlation_id
from osteon_query.orthanc.request_bodies import known_peer, resources_of, warn_of_unknown_fields
from osteon_query.orthanc.resource_lists import asks_to_expand
from osteon_query.remotes.job_submission import submit
from osteon_query.remotes.store_straight import receive_passing_file

router = APIRouter(prefix="/peers", tags=["Peers"])

_SECONDS: Final = 60.0
_UPLOAD_SECONDS: Final = 600.0
"""For a file to be sent and taken."""


@router.get("")
async def peers(request: Request, state: AppStateDep) -> Response:
    """List the names of peers, or all of them by name with `expand`."""
    found = await state.remotes.peers()
    if asks_to_expand(request):
        return json_response({peer.name: peer_object(peer) for peer in found})
    return json_response([peer.name for peer in found])


@router.get("/{id}")
async def operations(state: AppStateDep, id: str) -> Response:
    """List what can be done with a peer."""
    await state.remotes.peer(id)
    return json_response(["configuration", "store", "store-straight", "system"])


@router.get("/{id}/configuration")
async def configuration(state: AppStateDep, id: str) -> Response:
    """Describe a peer without its passwords and headers."""
    return json_response(peer_object(await state.remotes.peer(id)))


@router.put("/{id}")
async def put(request: Request, state: AppStateDep, id: str) -> Response:
    """Add or replace a peer: `["url"]`, `["url", "user", "password"]` or an object.

    A password or header that is null, as it is shown, stays as it is while URL and user stay the same.
    """
    known = await known_peer(state.remotes, id)
    body = await json_body(request)
    await state.remotes.put_peer(peer_from(id, body, known))
    warn_of_unknown_fields(request, state, body, PEER_FIELDS)
    return json_response({})


@router.delete("/{id}")
async def delete(state: AppStateDep, id: str) -> Response:
    """Remove a peer from the configuration; its jobs stay."""
    await state.remotes.delete_peer(id)
    return json_response({})


@router.get("/{id}/system")
async def system(request: Request, state: AppStateDep, id: str) -> Response:
    """Send what the peer says at its `/system`."""
    await state.remotes.peer(id)
    message = PeerSystemRequest(correlation_id=correlation_id(request), peer=id)
    try:
        answer = await state.bus.request(PEER, message, timeout=_SECONDS)
    except RequestFailed as error:
        raise RemoteFailed(f"peer {id}: {error}") from error
    return json_response(orjson.loads(answer.system))


@router.post("/{id}/store-straight")
async def store_straight(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the DICOM file in the body to a peer, without storing it here; the answer is the peer's."""
    await state.remotes.peer(id)
    file = await receive_passing_file(request, state)
    message = PeerUploadRequest(correlation_id=correlation_id(request), peer=id, key=file.key, length=file.length)
    try:
        reply = await state.bus.request(PEER_UPLOAD, message, timeout=_UPLOAD_SECONDS)
    except RequestFailed as error:
        raise RemoteFailed(f"peer {id}: {error}") from error
    finally:
        await state.objects.delete(file.key)
    return json_response(orjson.loads(reply.answer))


@router.post("/{id}/store")
async def store(request: Request, state: AppStateDep, id: str) -> Response:
    """Send resources to a peer, as a job: an identifier, an array of them, or an object with `Resources`."""
    peer = await state.remotes.peer(id)
    resources, body = await resources_of(request, state)
    transcode = body.get("Transcode", "")
    if not isinstance(transcode, str):
        raise BadParameter("Transcode: expected a Transfer Syntax UID")
    job_params = PeerStoreParams(
        peer=peer.name,
        resources=tuple(resources),
        compress=bool_field(body, "Compress", default=False),
        transcode=transcode,
        permissive=bool_field(body, "Permissive", default=False),
    )
    content = {
        "Peer": [without_credentials(peer.url), peer.username],
        "Compress": job_params.compress,
        "ParentResources": resources,
    }
    content |= {"InstancesCount": 0, "FailedInstancesCount": 0}
    return await submit(request, state.jobs, job_params, content, body)
