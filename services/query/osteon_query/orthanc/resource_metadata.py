"""Orthanc REST: metadata of resources, those that the archive notes and those of users."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.contracts.user_data import MetadataValue
from osteon.contracts.user_data_names import SYSTEM_METADATA
from osteon.dicom.header.load import read_aside
from osteon.user_data.limits import MAX_METADATA_BYTES
from osteon.user_data.port import BadUserData, UserData
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.bodies import whole_body
from osteon_query.http.errors import UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.orthanc.resource_lists import asks_to_expand
from osteon_query.orthanc.resource_types import RESOURCE_TYPES, ResourceType
from osteon_query.orthanc.revisions import Precondition, has_revision, revision_tag, text_md5
from osteon_query.orthanc.system_metadata import system_metadata
from osteon_query.orthanc.user_data import change, empty_response, metadata_names

router = APIRouter(tags=["Metadata"])


def _add_routes(kind: ResourceType) -> None:
    path, one = f"/{kind.segment}/{{id}}/metadata", kind.type.lower()

    @router.get(path, name=f"metadata of {one}")
    async def listing(request: Request, state: AppStateDep, id: str) -> Response:
        found = await _values(state, kind, id)
        names = metadata_names(state)
        numeric, expand = "numeric" in request.query_params, asks_to_expand(request)
        if expand:
            return json_response({str(code) if numeric else names.name_of(code): v.value for code, v in found.items()})
        return json_response([code if numeric else names.name_of(code) for code in found])

    @router.get(f"{path}/{{name}}", name=f"metadata value of {one}")
    async def get(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        code = metadata_names(state).require(name)
        found = (await _values(state, kind, id)).get(code)
        if found is None:
            raise UnknownResource(f"the {one} has no metadata {name[:80]!r}")
        tag = revision_tag(found.revision, text_md5(found.value))
        if has_revision(request, tag):
            return Response(None, 304, {"ETag": tag})
        return Response(found.value, media_type="text/plain", headers={"ETag": tag})

    @router.put(f"{path}/{{name}}", name=f"set metadata of {one}")
    async def put(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        code = metadata_names(state).require_user(name)
        value = _text(await whole_body(request, MAX_METADATA_BYTES, "limit of metadata"))
        expected = Precondition.of(request, required=state.settings.check_revisions)

        def changed(old: UserData) -> UserData:
            before = old.metadata.get(code)
            if before:
                expected.check(before.revision, text_md5(before.value))
            new = MetadataValue(value=value, revision=before.revision + 1 if before else 0)
            return replace(old, metadata={**old.metadata, code: new})

        revision = (await change(request, state, kind, id, changed)).metadata[code].revision
        return empty_response(ETag=revision_tag(revision, text_md5(value)))

    @router.delete(f"{path}/{{name}}", name=f"delete metadata of {one}")
    async def delete(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        code = metadata_names(state).require_user(name)
        expected = Precondition.of(request, required=state.settings.check_revisions)
        expected.check_given()

        def changed(old: UserData) -> UserData:
            before = old.metadata.get(code)
            if before is None:
                raise UnknownResource(f"the {one} has no metadata {name[:80]!r}")
            expected.check(before.revision, text_md5(before.value))
            return replace(old, metadata={each: value for each, value in old.metadata.items() if each != code})

        await change(request, state, kind, id, changed)
        return empty_response()


for _kind in RESOURCE_TYPES:
    _add_routes(_kind)


async def _values(state: AppState, kind: ResourceType, id: str) -> dict[int, MetadataValue]:
    """Return all metadata of a resource, in the order of their codes."""
    match = await state.index.get(kind.level, resource_id(id))
    of_users = (await state.user_data.read_many(kind.level, [match.public_id])).get(match.public_id, UserData())
    line = (await state.sidecars.lines_if_readable([match.instance.location]))[0] if match.instance else None
    of_system = await read_aside(line.header.json if line else b"", system_metadata, match, line)
    found: dict[int, Any] = {SYSTEM_METADATA[name]: MetadataValue(value=value) for name, value in of_system.items()}
    return dict(sorted({**found, **of_users.metadata}.items()))


def _text(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadUserData(f"the value of metadata must be UTF-8 text: {error}") from None
    if "\x00" in text:
        raise BadUserData("the value of metadata must not contain NUL")
    return text
