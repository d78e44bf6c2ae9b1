"""Orthanc REST: attachments of resources: the DICOM file of an instance, and files of users at every level."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Match
from osteon.contracts.user_data import Attachment, attachment_key
from osteon.contracts.user_data_names import SYSTEM_ATTACHMENTS, is_user_code, parse_attachment_names
from osteon.dicom.models import Level
from osteon.errors import Invalid, NotFound
from osteon.objects.port import Bytes
from osteon.packs.ids import new_pack_id
from osteon.packs.sidecar import SidecarLine
from osteon.user_data.port import SystemDataReadOnly, UserData
from osteon_query.app_state import AppState, AppStateDep, open_upload
from osteon_query.http.byte_ranges import send_range
from osteon_query.http.errors import UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import resource_id
from osteon_query.orthanc.attachment_files import (
    AttachmentFile,
    deflated,
    dicom_file,
    user_file,
    verify_dicom_file,
    verify_user_file,
    write_content,
)
from osteon_query.orthanc.resource_types import RESOURCE_TYPES, ResourceType
from osteon_query.orthanc.revisions import Precondition, has_revision, revision_tag
from osteon_query.orthanc.system_metadata import pixel_data_offset
from osteon_query.orthanc.user_data import attachment_names, change, empty_response
from osteon_query.packs.file_response import content_headers
from osteon_query.packs.items import count_bytes

router = APIRouter(tags=["Attachments"])

_DICOM: Final = SYSTEM_ATTACHMENTS["dicom"]
_UNTIL_PIXEL_DATA: Final = SYSTEM_ATTACHMENTS["dicom-until-pixel-data"]
_OPERATIONS: Final = (
    "compress", "compressed-data", "compressed-md5", "compressed-size", "data", "info", "is-compressed", "md5", "size",
    "uncompress", "verify-md5", "uuid",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Attached:
    """An attachment of a request's resource, and what is known of the instance when it is its file."""

    file: AttachmentFile
    match: Match
    line: SidecarLine | None = None


def _add_reads(kind: ResourceType) -> None:
    path, one = f"/{kind.segment}/{{id}}/attachments", kind.type.lower()

    @router.get(path, name=f"attachments of {one}")
    async def listing(request: Request, state: AppStateDep, id: str) -> Response:
        names = attachment_names(state)
        codes = sorted((await state.user_data.read(kind.level, resource_id(id))).attachments)
        codes = [_DICOM, *codes] if kind.level is Level.IMAGE else codes
        if "full" in request.query_params:
            return json_response({names.name_of(code): code for code in codes})
        return json_response([names.name_of(code) for code in codes])

    @router.get(f"{path}/{{name}}", name=f"operations on attachment of {one}")
    async def operations(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        found = await _attached(state, kind, id, name)
        return _tagged(request, found.file, lambda: json_response(_OPERATIONS))

    @router.get(f"{path}/{{name}}/data", name=f"data of attachment of {one}")
    async def data(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        file = (await _attached(state, kind, id, name)).file
        return await _send(request, file, file.plain, file.size, file.media_type)

    @router.get(f"{path}/{{name}}/compressed-data", name=f"stored data of attachment of {one}")
    async def compressed_data(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        file = (await _attached(state, kind, id, name)).file
        return await _send(request, file, file.stored, file.stored_size, "application/octet-stream")

    @router.get(f"{path}/{{name}}/info", name=f"info on attachment of {one}")
    async def info(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        file = (await _attached(state, kind, id, name)).file
        md5, stored_md5 = await file.digests()
        facts = {
            "CompressedMD5": stored_md5, "CompressedSize": file.stored_size, "ContentType": file.code,
            "UncompressedMD5": md5, "UncompressedSize": file.size, "Uuid": file.uuid,
        }  # fmt: skip
        return _tagged(request, file, lambda: json_response(facts))

    @router.get(f"{path}/{{name}}/{{fact}}", name=f"fact on attachment of {one}")
    async def fact(request: Request, state: AppStateDep, id: str, name: str, fact: str) -> Response:
        file = (await _attached(state, kind, id, name)).file
        if fact in ("md5", "compressed-md5"):
            text = (await file.digests())[fact != "md5"]
        elif fact in _FACTS:
            text = str(_FACTS[fact](file))
        else:
            raise UnknownResource(f"attachments have no {fact[:80]!r}: expected one of {', '.join(_OPERATIONS)}")
        return _tagged(request, file, lambda: Response(text, media_type="text/plain"))


def _add_changes(kind: ResourceType) -> None:
    path, one = f"/{kind.segment}/{{id}}/attachments", kind.type.lower()

    @router.put(f"{path}/{{name}}", name=f"set attachment of {one}")
    async def put(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        code = attachment_names(state).require_user(name)
        await state.user_data.read(kind.level, resource_id(id))
        expected = Precondition.of(request, required=state.settings.check_revisions)
        key = attachment_key(kind.level, resource_id(id), new_pack_id())
        limit = state.settings.max_attachment_bytes
        async with open_upload(request, state, limit, "OSTEON_MAX_ATTACHMENT_BYTES") as (upload, body):
            path = upload.new_path()
            made = await write_content(path, body)
            new = Attachment(key=key, size=made.size, md5=made.md5, stored_size=made.size, stored_md5=made.md5)
            await state.objects.put_file(key, path)

        def changed(old: UserData) -> UserData:
            before = old.attachments.get(code)
            if before:
                expected.check(before.revision, before.md5)
            revision = before.revision + 1 if before else 0
            return replace(old, attachments={**old.attachments, code: new.model_copy(update={"revision": revision})})

        stored = (await _or_delete(state, key, change(request, state, kind, id, changed))).attachments[code]
        response = json_response({})
        response.headers["ETag"] = revision_tag(stored.revision, stored.md5)
        return response

    @router.delete(f"{path}/{{name}}", name=f"delete attachment of {one}")
    async def delete(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        code = attachment_names(state).require_user(name)
        expected = Precondition.of(request, required=state.settings.check_revisions)
        expected.check_given()

        def changed(old: UserData) -> UserData:
            before = _of(old, code, name)
            expected.check(before.revision, before.md5)
            return replace(old, attachments={each: found for each, found in old.attachments.items() if each != code})

        await change(request, state, kind, id, changed)
        return empty_response()

    @router.post(f"{path}/{{name}}/verify-md5", name=f"verify attachment of {one}")
    async def verify(state: AppStateDep, id: str, name: str) -> Response:
        found = await _attached(state, kind, id, name)
        instance = found.match.instance
        if found.line is None or instance is None:
            await verify_user_file(found.file)
        else:
            await verify_dicom_file(found.file, instance.location, found.line)
        return json_response({})

    @router.post(f"{path}/{{name}}/compress", name=f"compress attachment of {one}")
    async def compress(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        return await _convert(request, state, kind, id, name, compressed=True)

    @router.post(f"{path}/{{name}}/uncompress", name=f"uncompress attachment of {one}")
    async def uncompress(request: Request, state: AppStateDep, id: str, name: str) -> Response:
        return await _convert(request, state, kind, id, name, compressed=False)


_FACTS: Final[dict[str, Callable[[AttachmentFile], object]]] = {
    "size": lambda file: file.size,
    "compressed-size": lambda file: file.stored_size,
    "is-compressed": lambda file: int(file.compressed),
    "uuid": lambda file: file.uuid,
}

for _kind in RESOURCE_TYPES:
    _add_reads(_kind)
    _add_changes(_kind)


async def _attached(state: AppState, kind: ResourceType, id: str, name: str) -> _Attached:
    """Find an attachment; raises `UnknownItem`, `UnknownResource` and `ResourceNotFound`."""
    code = attachment_names(state).require(name)
    match = await state.index.get(kind.level, resource_id(id))
    if match.instance is not None and code in (_DICOM, _UNTIL_PIXEL_DATA):
        location = match.instance.location
        line = await state.sidecars.line(location)
        length = location.length if code == _DICOM else pixel_data_offset(location.transfer_syntax_uid, line)
        if length is not None:
            return _Attached(dicom_file(state.objects, code, location, length), match, line)
    of_users = (await state.user_data.read_many(kind.level, [match.public_id])).get(match.public_id, UserData())
    found = _of(of_users, code, name)
    media_type = parse_attachment_names(state.settings.user_attachments)[1].get(code, "application/octet-stream")
    return _Attached(user_file(state.objects, code, found, media_type), match)


def _of(data: UserData, code: int, name: str) -> Attachment:
    found = data.attachments.get(code)
    if found is None:
        raise UnknownResource(f"the resource has no attachment {name[:80]!r}")
    return found


async def _or_delete(state: AppState, key: str, changing: Awaitable[UserData]) -> UserData:
    """Wait until user data name a new object, which is deleted when they are not changed after all."""
    try:
        return await changing
    except (Invalid, NotFound):
        await state.objects.delete(key)
        raise


async def _convert(
    request: Request, state: AppState, kind: ResourceType, id: str, name: str, *, compressed: bool
) -> Response:
    """Store an attachment again, compressed or not; its content and its revision stay."""
    found = await _attached(state, kind, id, name)
    file = found.file
    if file.compressed == compressed:
        return json_response({})
    if not is_user_code(file.code):
        raise SystemDataReadOnly("the files of instances stay as they were received")
    key = attachment_key(kind.level, found.match.public_id, new_pack_id())
    content = file.plain(0, file.size)
    async with open_upload(request, state) as (upload, _), aclosing(content):
        path = upload.new_path()
        made = await write_content(path, deflated(content, file.size) if compressed else content)
        await state.objects.put_file(key, path)

    def changed(old: UserData) -> UserData:
        before = _of(old, file.code, name)
        if before.md5 != file.tag:
            return old  # somebody has put another one meanwhile
        stored = {"key": key, "stored_size": made.size, "stored_md5": made.md5, "compressed": compressed}
        return replace(old, attachments={**old.attachments, file.code: before.model_copy(update=stored)})

    now = await _or_delete(state, key, change(request, state, kind, id, changed))
    if now.attachments[file.code].key != key:
        await state.objects.delete(key)
    return json_response({})


def _tagged(request: Request, file: AttachmentFile, answer: Callable[[], Response]) -> Response:
    """Answer with the revision as ETag, or with 304 when the client has that."""
    tag = revision_tag(file.revision, file.tag)
    if has_revision(request, tag):
        return Response(None, 304, {"ETag": tag})
    response = answer()
    response.headers["ETag"] = tag
    return response


async def _send(
    request: Request,
    file: AttachmentFile,
    source: Callable[[int, int], AsyncGenerator[Bytes, None]],
    size: int,
    media_type: str,
) -> Response:
    """Send content, or the requested byte range of it."""
    tag = revision_tag(file.revision, file.tag)
    if has_revision(request, tag):
        return Response(None, 304, {"ETag": tag})
    headers = {**content_headers(media_type, file.uuid), "Content-Type": media_type, "ETag": tag}
    return await send_range(
        request, lambda offset, length: count_bytes(source(offset, length), "attachments"), size, headers
    )
