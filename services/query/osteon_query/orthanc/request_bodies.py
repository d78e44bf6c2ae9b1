"""What the bodies of requests about modalities and peers have in common."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request

from osteon.archive.resources import InstanceScope
from osteon.contracts.remote import Target
from osteon.dicom.attribute_names import tag_of
from osteon.remotes.orthanc_json import unknown_fields
from osteon.remotes.port import Peer, RemoteNotFound, Remotes
from osteon_query.app_state import AppState, base_url
from osteon_query.http.bodies import parse_json, small_body
from osteon_query.http.errors import BadBody, BadParameter
from osteon_query.http.request_values import resource_id, warn

_MAX_RESOURCES: Final = 100_000


async def resources_of(request: Request, state: AppState) -> tuple[list[str], Mapping[str, Any]]:
    """Return the resources that a body names and the body, when it is an object; raises `ResourceNotFound`.

    The body is an identifier, as it is or as JSON, an array of them, or an object with `Resources`.
    """
    text = (await small_body(request)).strip()
    try:
        body = parse_json(text) if text[:1] in (b"{", b"[", b'"') else text.decode()
    except UnicodeDecodeError as error:
        raise BadBody(f"the body is neither JSON nor an identifier: {error}") from None
    options: Mapping[str, Any] = body if isinstance(body, dict) else {}
    given = options.get("Resources", options.get("Instances")) if isinstance(body, dict) else body
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not listed or not all(isinstance(each, str) for each in listed):
        raise BadParameter("Resources: expected an identifier, or an array of them")
    if len(listed) > _MAX_RESOURCES:
        raise BadParameter(f"Resources: at most {_MAX_RESOURCES} in one request")
    for each in listed:
        # `ResourceNotFound` comes now rather than in a job.
        async for _ in state.index.locate(InstanceScope(public_id=resource_id(each))):
            break
    return listed, options


async def known_peer(remotes: Remotes, name: str) -> Peer | None:
    """Return the peer of a name, which may be a DICOMweb server, or None when it is new."""
    try:
        return await remotes.peer(name)
    except RemoteNotFound:
        return None


def keys_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the field `Query`: keyword or tag → text; raises `BadParameter` and `UnknownAttribute`."""
    given = body.get("Query", {})
    if not isinstance(given, dict):
        raise BadParameter("Query: expected an object of keywords or tags and their values")
    for name, value in given.items():
        tag_of(name)
        if not isinstance(value, str):
            raise BadParameter(f"Query: {name[:80]}: expected text")
    return given


def warn_of_unknown_fields(request: Request, state: AppState, body: object, known: frozenset[str]) -> None:
    """Add a Warning that names the fields of a body which are not known: they are ignored, as Orthanc does."""
    if unknown := unknown_fields(body, known):
        warn(request, base_url(request, state), f"These fields are not known and were ignored: {', '.join(unknown)}")


def content_of(target: Target) -> dict[str, Any]:
    """Return what a job shows of who talks to whom."""
    return {"LocalAet": target.calling_aet, "RemoteAet": target.aet}
