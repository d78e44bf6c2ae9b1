"""Orthanc REST: upload of instances (DICOM, ZIP, HTML form), and their files."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.ports import InstanceLocator
from osteon.archive.resources import InstanceScope, Location
from osteon.dicom.header.load import load_header, read_aside
from osteon.dicom.pixels.registry import CODECS
from osteon.dicom.xml import to_xml
from osteon.remotes.orthanc_json import int_field
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url, open_upload
from osteon_query.http.accept import DICOM, DICOM_JSON, DICOM_XML, media_ranges
from osteon_query.http.bodies import boundary_of, content_type
from osteon_query.http.errors import BadBody, BadParameter, NotYetIndexed
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import correlation_id, resource_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.instance_location import instance_location
from osteon_query.orthanc.zip_archive import ZipArchive
from osteon_query.packs.body_files import ReceivedFile, write_file, write_parts
from osteon_query.packs.file_response import attachment, send_file
from osteon_query.packs.instance_reader import InstanceRequest, read_once, transcode_instance
from osteon_query.packs.items import count_bytes
from osteon_query.packs.metadata import instance_url, with_bulk_urls
from osteon_query.packs.sidecars import read_lines
from osteon_query.packs.upload_result import UploadResult, UploadStatus
from osteon_query.packs.uploads import Upload

router = APIRouter(prefix="/instances", tags=["Instances"])

_PURPOSE: Final = "file"
_TYPES: Final = (DICOM, DICOM_JSON, DICOM_XML)
_LONGEST_NAME: Final = 200
_ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
"""Of a local file header, and of the directory of an empty archive (APPNOTE 4.3)."""


@router.post("")
async def upload(request: Request, state: AppStateDep) -> Response:
    """Store a DICOM file, the files of a ZIP archive, or those of an HTML form."""
    media_type, parameters = content_type(request)
    limit = state.settings.max_upload_bytes
    zipped = several = False
    async with open_upload(request, state) as (upload, body):
        if media_type.startswith("multipart/"):
            count = 0
            async for file in _form_files(body, boundary_of(parameters), upload):
                zipped = await _take(file, upload, limit) or zipped
                several = zipped or count > 0
                count += 1
        else:
            zipped = several = await _take(await write_file(body, upload.new_path()), upload, limit)
        received = await upload.finish()
    return json_response(await _answer(state.index, received, zipped=zipped, several=several))


async def _form_files(body: AsyncIterator[bytes], boundary: bytes, upload: Upload) -> AsyncIterator[ReceivedFile]:
    """Yield the parts that are files; plain fields of the form are passed over."""
    async for part, file in write_parts(body, boundary, upload.new_path):
        disposition = part.headers.get("content-disposition", "")
        is_file = "filename" in disposition or "content-type" in part.headers or not disposition
        if file.size and is_file:
            yield file
        else:
            await file.delete()


async def _take(file: ReceivedFile, upload: Upload, limit: int) -> bool:
    """Add a file, or those of a ZIP archive; returns whether it was one."""
    if file.data is not None:
        is_zip = file.data.startswith(_ZIP_MAGICS)
    else:
        is_zip = await asyncio.to_thread(_is_zip, file.path)
    if not is_zip:
        await upload.add(file)
        return False
    archive = await asyncio.to_thread(_open_archive, file, upload.max_files, limit)
    try:
        for entry in archive.files():
            await upload.add(await asyncio.to_thread(archive.extract, entry, upload.new_path()))
    finally:
        await asyncio.to_thread(archive.close)
        await file.delete()
    return True


def _open_archive(file: ReceivedFile, max_files: int, limit: int) -> ZipArchive:
    return ZipArchive.open(file.save(), max_files, limit)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP_MAGICS[0])) in _ZIP_MAGICS


async def _answer(index: InstanceLocator, received: list[UploadResult], *, zipped: bool, several: bool) -> Any:
    """Write what became of the files. Those of a ZIP archive that are not DICOM are left out, as Orthanc does."""
    if any(entry.status is UploadStatus.PENDING for entry in received):
        raise NotYetIndexed("the instances are stored but not indexed yet; sending them again is safe")
    kept = [entry for entry in received if entry.identity is not None]
    if not kept:
        first = received[0].detail if received else "it holds no file"
        raise BadBody(f"the ZIP archive holds no DICOM instance: {first}" if zipped else first)
    answers = [await upload_answer(index, entry) for entry in kept]
    return answers if several else answers[0]


async def upload_answer(index: InstanceLocator, entry: UploadResult) -> dict[str, Any]:
    """Return what Orthanc answers to an upload that has an identity."""
    assert entry.identity is not None
    identity = entry.identity
    if entry.status is UploadStatus.CONFLICT:
        # The instance that is served may belong to another patient.
        async for location in index.locate(InstanceScope(sop_uids=(identity.sop_uid,))):
            identity = location.identity
    answer: dict[str, Any] = {
        "ID": identity.public_instance,
        "ParentPatient": identity.public_patient,
        "ParentSeries": identity.public_series,
        "ParentStudy": identity.public_study,
        "Path": f"/instances/{identity.public_instance}",
        "Status": "Success" if entry.status is UploadStatus.STORED else "AlreadyStored",
    }
    if entry.status is UploadStatus.CONFLICT:
        answer["Conflict"] = True
    if entry.detail:
        answer["Warning"] = f"stored, but not all of it can be read: {entry.detail}"
    return answer


@router.get("/{id}/file")
async def file(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the DICOM file as stored, by Range too, or in the transfer syntax `transcode`, to be saved as `filename`.

    `lossy-quality` (1 to 100) is for transfer syntaxes that lose information. By `Accept` the data set is sent as DICOM
    JSON or XML, whose long values are links to DICOMweb.
    """
    public_id = resource_id(id)
    location = await instance_location(request, state, public_id)
    query = request.query_params
    document = next((entry.type for entry in media_ranges(request) if entry.type in _TYPES), DICOM)
    if document != DICOM:
        return await _document(request, state, location, document)
    filename = query.get("filename", "")[:_LONGEST_NAME] or f"{public_id}.dcm"
    syntax = query.get("transcode", "")
    if syntax not in ("", *CODECS):
        raise BadParameter(f"transcode: {syntax[:80]!r} is not a transfer syntax that files can be had in")
    if syntax in ("", location.transfer_syntax_uid):
        return await send_file(request, state.objects, location, purpose=_PURPOSE, filename=filename)
    quality = int_field(query, "lossy-quality", 1, 100) or None
    wanted = InstanceRequest(location, (syntax,), as_stored=False, quality=quality)
    made = await transcode_instance(state.objects, state.transcoder, wanted, correlation_id(request))
    metrics.HTTP_ITEMS_SENT.labels(_PURPOSE).inc()
    source = count_bytes(read_once(state.objects, state.transcoder, made), _PURPOSE)
    headers = {
        "Content-Type": DICOM, "Content-Disposition": attachment(filename), "Content-Length": str(made.length),
    }  # fmt: skip
    return await stream_response(request, source, headers)


async def _document(request: Request, state: AppState, location: Location, media_type: str) -> Response:
    (line,) = await read_lines(state.sidecars, [location])
    url = instance_url(dicomweb_url(request, state), location)

    def write() -> bytes:
        header = with_bulk_urls(line.header.json, url)
        return header if media_type == DICOM_JSON else to_xml(load_header(header))

    return Response(await read_aside(line.header.json, write), media_type=media_type, headers={"Vary": "Accept"})
