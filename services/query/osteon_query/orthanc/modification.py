"""Orthanc REST: new instances from stored ones. One instance is a file for the client, the rest are jobs."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.dicom.models import Level
from osteon.modification.apply import ModificationApplier
from osteon.modification.instance_writer import InstanceWriter
from osteon.modification.modified_file import Change
from osteon.modification.request import FIELDS, Modification
from osteon.modification.uids import UidMapping
from osteon.objects.port import Bytes
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.accept import DICOM
from osteon_query.http.bodies import json_object
from osteon_query.http.request_values import resource_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.instance_location import instance_location
from osteon_query.orthanc.request_bodies import warn_of_unknown_fields
from osteon_query.packs.file_response import attachment

router = APIRouter(tags=["Modification"])

_CHUNK: Final = 1 << 20


@router.post("/instances/{id}/modify")
async def modify_instance(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the DICOM file of an instance with other attributes, under a new SOP Instance UID; nothing is stored.

    `{"Replace": {…}, "Remove": […], "Keep": […], "RemovePrivateTags": …, "Force": …, "Transcode": …}`.
    """
    body = await json_object(request)
    warn_of_unknown_fields(request, state, body, FIELDS)
    modification = Modification.from_orthanc(body, Level.IMAGE, job=False)
    location = await instance_location(request, state, resource_id(id))
    change = ModificationApplier(modification, UidMapping(secrets.token_hex()))
    writer = InstanceWriter(
        state.objects,
        state.bus,
        transcode=modification.transcode,
        quality=modification.lossy_quality,
        transcode_seconds=state.settings.transcode_timeout_seconds,
    )
    return await _send_changed(request, state, location, writer, change)


async def _send_changed(
    request: Request, state: AppState, location: Location, writer: InstanceWriter, change: Change
) -> Response:
    """Write the changed file, send it and delete it."""
    folder = await asyncio.to_thread(TemporaryDirectory, prefix="modify-", dir=state.uploads.folder)
    path = Path(folder.name) / "changed.dcm"
    try:
        made = await writer.write(location, change, path)
    except BaseException:
        await asyncio.to_thread(folder.cleanup)
        raise
    headers = {
        "Content-Type": DICOM,
        "Content-Length": str(made.size),
        "Content-Disposition": attachment(f"{made.identity.public_instance}.dcm"),
    }
    return await stream_response(request, _chunks(path, folder), headers)


async def _chunks(path: Path, folder: "TemporaryDirectory[str]") -> AsyncGenerator[Bytes, None]:
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
    finally:
        await asyncio.to_thread(folder.cleanup)
