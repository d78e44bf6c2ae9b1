"""Orthanc REST: `/tools/create-dicom`, which makes instances of tags with pictures, documents, or nothing else."""

import asyncio
import shutil
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope
from osteon.contracts.imaging import DecodeReply
from osteon.dicom.attribute_names import describe, tag_of
from osteon.dicom.attributes import element_text
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.encoded_data_set import element_head
from osteon.dicom.models import Level
from osteon.dicom.part10 import write_part10_header
from osteon.dicom.text_encoder import UNICODE, text_encoder_for
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon_query.app_state import AppState, AppStateDep, open_upload
from osteon_query.http.errors import BadBody, BadParameter, UnknownResource
from osteon_query.http.json_response import json_response
from osteon_query.http.request_values import correlation_id, resource_id
from osteon_query.images.decode_client import decode_picture
from osteon_query.orthanc.created_tags import Elements, TagReader
from osteon_query.orthanc.creation_request import FIELDS, PIXEL_DATA, CreationRequest, InstanceContent
from osteon_query.orthanc.instances import upload_answer
from osteon_query.orthanc.modules import MODULE_TAGS
from osteon_query.orthanc.request_bodies import warn_of_unknown_fields
from osteon_query.packs.body_files import ReceivedFile, write_file

router = APIRouter(prefix="/tools", tags=["Tools"])

_MAX_BODY: Final = 64 << 20
"""Bytes: a request takes about four times as much memory while its body is read, one at a time."""
_CHARSET, _CLASS, _INSTANCE, _PATIENT = map(
    tag_of, ("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "PatientID")
)
_MOMENTS: Final[Mapping[Level, tuple[str, ...]]] = {
    Level.STUDY: ("Study",),
    Level.SERIES: ("Series",),
    Level.IMAGE: ("InstanceCreation", "Acquisition", "Content"),
}
"""Beginnings of the keywords of dates and times that a new resource of a level gets."""


@router.post("/create-dicom")
async def create_dicom(request: Request, state: AppStateDep) -> Response:
    """Make and store an instance: `{"Tags": {…}, "Content": "data:image/png;base64,…", "Parent": …, "Force": …}`.

    `Content` is a PNG, JPEG or PDF file, or a list of such, or of objects with `Content` and `Tags`, that becomes a
    series. Of `Parent` (a patient, study or series) the attributes of its modules are taken over.
    """
    async with open_upload(request, state, _MAX_BODY, "limit of create-dicom") as (upload, chunks):
        body = await write_file(chunks, upload.new_path())
        async with upload.parsing:  # the contents are in memory
            wanted = await asyncio.to_thread(CreationRequest.read, body.path)
            await body.delete()
            warn_of_unknown_fields(request, state, dict.fromkeys(wanted.names), FIELDS)
            shared = await _shared_tags(state, wanted)
            for number, content in enumerate(wanted.contents, 1):
                numbers = _numbers(number, len(wanted.contents)) if wanted.in_series else {}
                tags = {**content.attributes, **numbers, **shared, **content.tags, **_new_uids("SOPInstanceUID")}
                if not wanted.in_series:
                    tags |= {_INSTANCE: shared[_INSTANCE]} if _INSTANCE in shared else {}
                await upload.add(await _make(request, state, content, tags, upload.new_path()))
        received = await upload.finish()
    failed = next((entry.detail for entry in received if entry.identity is None), "")
    if failed or not received:
        raise BadBody(failed or "nothing was made")
    answer = await upload_answer(state.index, received[0])
    if wanted.in_series:
        series = answer["ParentSeries"]
        answer = {"ID": series, "Path": f"/series/{series}", "Status": answer["Status"]}
    return json_response(answer)


async def _shared_tags(state: AppState, wanted: CreationRequest) -> Elements:
    """Return the tags of all instances: identifiers and moments, those of the parent, those of the request."""
    depth, inherited = -1, dict[str, Elements]()
    fixed: Elements = {_PATIENT: {"vr": "LO", "Value": [str(uuid.uuid4())]}}
    fixed |= _new_uids("StudyInstanceUID", "SeriesInstanceUID")
    if wanted.parent:
        depth, inherited = await _inherited(state, resource_id(wanted.parent))
        fixed |= inherited
    if not wanted.force:
        for tag in wanted.tags.keys() & (fixed.keys() | {_INSTANCE}) - {_PATIENT}:
            raise BadParameter(f"Tags: {describe((tag,))} is that of a parent module: Force sets it all the same")
    return {**_moments(depth), **fixed, **wanted.tags}


async def _inherited(state: AppState, parent: str) -> tuple[int, Elements]:
    """Return the depth of a patient, study or series, and what its modules say, from one instance."""
    async for location in state.index.locate(InstanceScope(public_id=parent)):
        identity = location.identity
        above = (identity.public_patient, identity.public_study, identity.public_series)
        if parent not in above:
            raise BadParameter("Parent: expected a patient, a study or a series, not an instance")
        depth = above.index(parent)
        header = await state.sidecars.header(location)
        wanted = frozenset[str]().union(*(MODULE_TAGS[level] for level in list(Level)[: depth + 1]))
        return depth, {tag: dict(e) for tag, e in header.items() if tag in wanted and "BulkDataURI" not in e}
    raise UnknownResource(f"there is no resource {parent}")


def _new_uids(*keywords: str) -> Elements:
    return {tag_of(keyword): {"vr": "UI", "Value": [f"2.25.{uuid.uuid4().int}"]} for keyword in keywords}


def _moments(depth: int) -> Elements:
    """Return date and time of now for what is below a level of `depth`."""
    now = datetime.now().astimezone()
    names = [name for level, keywords in _MOMENTS.items() if level.depth > depth for name in keywords]
    texts = {name + "Date": f"{now:%Y%m%d}" for name in names} | {name + "Time": f"{now:%H%M%S.%f}" for name in names}
    return TagReader().elements(texts)


def _numbers(number: int, count: int) -> Elements:
    """Return what tells the instances of a series apart."""
    numbers = {"InstanceNumber": number, "ImagesInAcquisition": count, "NumberOfTemporalPositions": 1}
    return TagReader().elements({name: str(value) for name, value in {**numbers, "ImageIndex": number}.items()})


async def _make(
    request: Request, state: AppState, content: InstanceContent, tags: Elements, path: Path
) -> ReceivedFile:
    """Write the file of an instance, whose pixels are beside it meanwhile."""
    pixels = path.with_suffix(".pixels")
    try:
        if content.is_picture:
            layout = await decode_picture(state.bus, state.objects, content.data, pixels, correlation_id(request))
            tags = {**tags, **_description(layout)}
        await asyncio.to_thread(_write, path, tags, pixels if content.is_picture else None)
    finally:
        await asyncio.to_thread(pixels.unlink, missing_ok=True)
    return ReceivedFile(path, 0)


def _description(layout: DecodeReply) -> Elements:
    """Return the attributes that describe pixels (PS3.3 C.7.6.3)."""
    colours = {"PlanarConfiguration": 0} if layout.samples > 1 else {}
    numbers = {
        "SamplesPerPixel": layout.samples, "Rows": layout.rows, "Columns": layout.columns, "PixelRepresentation": 0,
        "BitsAllocated": layout.bits, "BitsStored": layout.bits, "HighBit": layout.bits - 1, **colours,
    }  # fmt: skip
    texts = {name: str(number) for name, number in numbers.items()}
    return TagReader().elements({**texts, "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2"})


def _write(path: Path, tags: Elements, pixels: Path | None) -> None:
    """Write a file in Explicit VR Little Endian; its text is in the character set that the tags name, or in UTF-8."""
    named = element_text(tags.get(_CHARSET, {}))
    encoder = DatasetEncoder(EXPLICIT_VR_LITTLE_ENDIAN, text_encoder_for(tuple(named.split("\\"))) or UNICODE)
    if pixels is not None and (behind := [tag for tag in tags if tag > PIXEL_DATA]):
        raise BadParameter(f"Tags: {describe((behind[0],))} would come behind the pixel data")
    sop_class, sop = (element_text(tags[tag]) for tag in (_CLASS, _INSTANCE))
    with path.open("xb") as file:
        file.write(write_part10_header(sop_class, sop, EXPLICIT_VR_LITTLE_ENDIAN))
        file.write(encoder.encode({tag: tags[tag] for tag in sorted(tags)}))
        if pixels is not None:
            length = pixels.stat().st_size
            file.write(element_head(PIXEL_DATA, "OW") + (length + length % 2).to_bytes(4, "little"))
            with pixels.open("rb") as source:
                shutil.copyfileobj(source, file)
            file.write(bytes(length % 2))
