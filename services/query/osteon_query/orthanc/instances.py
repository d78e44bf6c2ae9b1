"""Orthanc REST: upload of instances (DICOM, ZIP, HTML form), and their files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.ports import InstanceLocator
from osteon.archive.resources import InstanceScope
from osteon.dicom.models import Level
from osteon_query.dicomweb.sending import send_file
from osteon_query.dicomweb.stow import UPLOAD_LIMIT
from osteon_query.http.bodies import PartBegins, boundary_of, content_type, limited, write_file, write_parts
from osteon_query.http.context import DoorOf, correlation_id, resource_id
from osteon_query.http.errors import BadBody, NotYetIndexed
from osteon_query.orthanc.resources import json_response
from osteon_query.orthanc.zips import Zip
from osteon_query.packs.received import Fate, Received
from osteon_query.packs.uploads import Upload

router = APIRouter(prefix="/instances", tags=["Instances"])

_ZIP_MAGIC: Final = b"PK\x03\x04"


@router.post("")
async def upload(request: Request, door: DoorOf) -> Response:
    """Store a DICOM file, the files of a ZIP archive, or those of an HTML form."""
    media_type, parameters = content_type(request)
    remote = request.client.host if request.client else ""
    limit = door.settings.max_upload_bytes
    several = False
    async with (
        door.uploads.open(correlation_id(request), remote) as taken,
        aclosing(limited(request, limit, UPLOAD_LIMIT)) as body,
    ):
        if media_type.startswith("multipart/"):
            paths = await _form_files(body, boundary_of(parameters), taken)
        else:
            paths = [taken.new_path()]
            await write_file(body, paths[0])
        for path in paths:
            several = await _take(path, taken, limit) or several
        received = await taken.finish()
    return json_response(await _answer(door.index, received, several=several or len(paths) > 1))


async def _form_files(body: AsyncIterator[bytes], boundary: bytes, taken: Upload) -> list[Path]:
    """Write the parts that are files; plain fields of the form are passed over."""
    paths: list[Path] = []
    async for part, path, size in write_parts(body, boundary, taken.new_path):
        if size and _is_file(part):
            paths.append(path)
        else:
            await asyncio.to_thread(path.unlink)
    return paths


def _is_file(part: PartBegins) -> bool:
    disposition = part.headers.get("content-disposition", "")
    return "filename" in disposition or "content-type" in part.headers or not disposition


async def _take(path: Path, taken: Upload, limit: int) -> bool:
    """Add a file, or those of a ZIP archive; returns whether it was one."""
    if not await asyncio.to_thread(_is_zip, path):
        await taken.add(path)
        return False
    archive = await asyncio.to_thread(Zip.open, path, limit)
    try:
        for entry in archive.files():
            inner = taken.new_path()
            await asyncio.to_thread(archive.extract, entry, inner)
            await taken.add(inner)
    finally:
        await asyncio.to_thread(archive.close)
        await asyncio.to_thread(path.unlink)
    return True


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


async def _answer(index: InstanceLocator, received: list[Received], *, several: bool) -> Any:
    """Write what became of the files. Those of a ZIP archive that are not DICOM are left out, as Orthanc does."""
    if any(entry.fate is Fate.PENDING for entry in received):
        raise NotYetIndexed("the instances are stored but not indexed yet; sending them again is safe")
    kept = [entry for entry in received if entry.identity is not None]
    if not kept:
        raise BadBody(received[0].detail if received else "the body holds no file")
    answers = [await _object(index, entry) for entry in kept]
    return answers if several else answers[0]


async def _object(index: InstanceLocator, entry: Received) -> dict[str, Any]:
    assert entry.identity is not None
    identity = entry.identity
    if entry.fate is Fate.CONFLICT:
        # The instance that is served may belong to another patient.
        async for location in index.locate(InstanceScope(sop_uids=(identity.sop_uid,))):
            identity = location.identity
    answer: dict[str, Any] = {
        "ID": identity.public_instance,
        "ParentPatient": identity.public_patient,
        "ParentSeries": identity.public_series,
        "ParentStudy": identity.public_study,
        "Path": f"/instances/{identity.public_instance}",
        "Status": "Success" if entry.fate is Fate.STORED else "AlreadyStored",
    }
    if entry.fate is Fate.CONFLICT:
        answer["Conflict"] = True
    if entry.detail:
        answer["Warning"] = f"kept, but its header can not be read to its end: {entry.detail}"
    return answer


@router.get("/{id}/file")
async def file(request: Request, door: DoorOf, id: str) -> Response:
    """Send the DICOM file as stored; Range is honoured."""
    public_id = resource_id(id)
    match = await door.index.get(Level.IMAGE, public_id)
    assert match.instance is not None
    return await send_file(request, door.objects, match.instance.location, way="file", filename=f"{public_id}.dcm")
