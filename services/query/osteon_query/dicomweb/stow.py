"""STOW-RS: store instances, as DICOM files or as metadata with bulk data (PS3.18 10.5)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.multipart import PartStart
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url, open_upload
from osteon_query.dicomweb.bulk_parts import is_bulk
from osteon_query.dicomweb.instance_assembler import Assembled, AssemblyFailure, InstanceAssembler
from osteon_query.dicomweb.stow_response import answers_as_json, store_response
from osteon_query.http.accept import DICOM, DICOM_JSON, DICOM_XML, MULTIPART, OCTETS, split_header
from osteon_query.http.bodies import boundary_of, content_type
from osteon_query.http.errors import BadBody, UnsupportedMediaType
from osteon_query.http.request_values import uid_of
from osteon_query.packs.body_files import ReceivedFile, write_file, write_parts
from osteon_query.packs.uploads import Upload

router = APIRouter(prefix="/dicom-web/studies", tags=["STOW-RS"])

_JSON: Final = frozenset({DICOM_JSON, "application/json"})
_METADATA: Final = _JSON | {DICOM_XML}
_ACCEPTED: Final = _METADATA | {DICOM}


@router.post("")
async def store(request: Request, state: AppStateDep) -> Response:
    """Store instances of any study."""
    return await _store(request, state, None)


@router.post("/{study}")
async def store_in_study(request: Request, state: AppStateDep, study: str) -> Response:
    """Store instances of one study; those of others are refused."""
    return await _store(request, state, uid_of("the study", study))


async def _store(request: Request, state: AppState, study: str | None) -> Response:
    as_json = answers_as_json(request)
    media_type, parameters = content_type(request)
    kind = parameters.get("type", DICOM).lower() if media_type == MULTIPART else media_type
    if kind not in _ACCEPTED:
        raise UnsupportedMediaType(
            f"instances are accepted as {', '.join(sorted(_ACCEPTED - {'application/json'}))}, alone or as type of "
            f"{MULTIPART}; the Content-Type is {request.headers.get('content-type', '')[:200]!r}"
        )
    async with open_upload(request, state) as (upload, body):
        assembler = InstanceAssembler(upload.new_path, upload.parsing, state.limits.metadata_bytes)
        if media_type == MULTIPART:
            parts = write_parts(body, boundary_of(parameters), upload.new_path)
            await _store_parts(parts, kind, upload, assembler, study)
        else:
            file = await write_file(body, upload.new_path())
            if kind == DICOM:
                await upload.add(file, study_uid=study)
            else:
                await _add(assembler.metadata(file, as_xml=kind == DICOM_XML), upload, study)
        _refuse(assembler.incomplete(), upload)
        received = await upload.finish()
    if not received:
        raise BadBody("the body has no parts: nothing was stored")
    url = dicomweb_url(request, state)
    return await asyncio.to_thread(store_response, received, url, study, as_json=as_json)


async def _store_parts(
    parts: AsyncIterator[tuple[PartStart, ReceivedFile]],
    default: str,
    upload: Upload,
    assembler: InstanceAssembler,
    study: str | None,
) -> None:
    async for part, file in parts:
        kind = split_header(part.headers.get("content-type", ""))[0] or (OCTETS if is_bulk(part.headers) else default)
        if kind in _METADATA:
            await _add(assembler.metadata(file, as_xml=kind == DICOM_XML), upload, study)
        elif DICOM in (kind, default):
            # Some clients give files another type, but nothing else can come in such a body.
            await upload.add(file, study_uid=study)
        else:
            await _add(assembler.bulk(file, part.headers), upload, study)


async def _add(assembled: AsyncGenerator[Assembled, None], upload: Upload, study: str | None) -> None:
    async with aclosing(assembled):
        async for one in assembled:
            if isinstance(one, ReceivedFile):
                await upload.add(one, study_uid=study)
            else:
                _refuse([one], upload)


def _refuse(failures: Iterable[AssemblyFailure], upload: Upload) -> None:
    for one in failures:
        upload.refuse(one.error, one.identity)
