"""Orthanc REST: what a data set says of one level, of many instances, at one path, and in its file meta information."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope
from osteon.dicom.attribute_names import tag_of
from osteon.dicom.attributes import element_text
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.models import Level
from osteon.dicom.part10 import read_part10
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.errors import NotFound
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.errors import StoredDataUnreadable, UnknownResource
from osteon_query.http.json_response import JSON, json_response
from osteon_query.http.request_values import resource_id
from osteon_query.http.streaming import stream_response
from osteon_query.orthanc.instance_location import instance_location
from osteon_query.orthanc.resource_types import INSTANCE, PATIENT, RESOURCE_TYPES, SERIES, STUDY, ResourceType
from osteon_query.orthanc.tag_formats import TagFormat, format_tag, write_tags
from osteon_query.orthanc.tags import tag_format_of
from osteon_query.packs.sidecars import parse_header, read_lines, sidecar_batches

router = APIRouter(tags=["Tags"])

_MODULES: Final[Mapping[Level, tuple[str, ...]]] = {
    Level.PATIENT: (
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex",
        "OtherPatientIDs", "OtherPatientNames", "EthnicGroup", "PatientComments", "PatientSpeciesDescription",
        "PatientBreedDescription", "ResponsiblePerson", "ResponsibleOrganization", "PatientIdentityRemoved",
        "DeidentificationMethod", "ReferencedPatientSequence", "OtherPatientIDsSequence",
    ),
    Level.STUDY: (
        "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
        "StudyDescription", "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "RequestingService",
        "ReferencedStudySequence", "ProcedureCodeSequence", "AdmittingDiagnosesDescription", "PatientAge",
        "PatientSize", "PatientWeight", "Occupation", "AdditionalPatientHistory", "AdmissionID", "RequestingPhysician",
        "InstitutionName", "RequestedProcedureDescription", "TimezoneOffsetFromUTC",
    ),
    Level.SERIES: (
        "Modality", "SeriesInstanceUID", "SeriesNumber", "Laterality", "SeriesDate", "SeriesTime",
        "PerformingPhysicianName", "ProtocolName", "SeriesDescription", "OperatorsName", "BodyPartExamined",
        "PatientPosition", "SmallestPixelValueInSeries", "LargestPixelValueInSeries", "RequestAttributesSequence",
        "PerformedProcedureStepID", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
        "PerformedProcedureStepDescription", "CommentsOnThePerformedProcedureStep", "Manufacturer", "StationName",
        "ReferencedPerformedProcedureStepSequence",
    ),
    Level.IMAGE: (
        "SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet", "InstanceCreationDate", "InstanceCreationTime",
        "InstanceCreatorUID", "InstanceNumber", "TimezoneOffsetFromUTC", "AcquisitionNumber", "AcquisitionDate",
        "AcquisitionTime", "ContentDate", "ContentTime", "ImageType", "ImageComments", "NumberOfFrames",
        "PatientOrientation", "ImagePositionPatient", "ImageOrientationPatient", "QualityControlImage",
        "BurnedInAnnotation", "LossyImageCompression", "PresentationLUTShape",
    ),
}  # fmt: skip
"""Attributes of the modules Patient, General Study with Patient Study, General Series, SOP Common with General Image
(PS3.3 C.7.1.1, C.7.2, C.7.3.1, C.12.1, C.7.6.1)."""
MODULE_TAGS: Final = {level: frozenset(map(tag_of, names)) for level, names in _MODULES.items()}
_META_BYTES: Final = 64 << 10


def _add_module(kind: ResourceType, level: Level, name: str) -> None:
    @router.get(f"/{kind.segment}/{{id}}/{name}", name=f"{name} of {kind.type.lower()}")
    async def module(request: Request, state: AppStateDep, id: str) -> Response:
        header = await _header_below(state, kind, resource_id(id))
        chosen = {tag: element for tag, element in header.items() if tag in MODULE_TAGS[level]}
        return json_response(write_tags(chosen, tag_format_of(request)))


def _add_instances_tags(kind: ResourceType) -> None:
    @router.get(f"/{kind.segment}/{{id}}/instances-tags", name=f"tags of the instances of {kind.type.lower()}")
    async def instances_tags(request: Request, state: AppStateDep, id: str) -> Response:
        match = await state.index.get(kind.level, resource_id(id))
        any_length = "ignore-length" in request.query_params
        source = _all_tags(state, match.public_id, tag_format_of(request), any_length=any_length)
        return await stream_response(request, source, {"Content-Type": JSON})


for _kind in RESOURCE_TYPES:
    _add_module(_kind, _kind.level, "module")
    if _kind is not INSTANCE:
        _add_instances_tags(_kind)
for _kind in (STUDY, SERIES, INSTANCE):
    _add_module(_kind, PATIENT.level, "module-patient")


@router.get("/instances/{id}/header")
async def header(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the file meta information (group 0002), by number, by name with `simplify`, bare with `short`."""
    location = await instance_location(request, state, resource_id(id))
    try:
        start = await state.objects.get_range(location.key, location.offset, min(location.length, _META_BYTES))
    except NotFound as error:
        raise StoredDataUnreadable(f"the file of the instance cannot be read: {error}") from None
    meta = await asyncio.to_thread(_file_meta, start)
    return json_response(write_tags(meta, tag_format_of(request), any_length=True))


@router.get("/instances/{id}/content")
@router.get("/instances/{id}/content/{path:path}")
async def content(request: Request, state: AppStateDep, id: str, path: str = "") -> Response:
    """List the tags of a data set, or send the value at a path such as `0008-1115/0/0020-000e` as it is.

    A path that ends with a sequence lists its items, one that ends with an item its tags.
    """
    location = await instance_location(request, state, resource_id(id))
    (line,) = await read_lines(state.sidecars, [location])
    data_set: Mapping[str, Any] = await asyncio.to_thread(parse_header, line.header.json)
    steps = [step for step in path.split("/") if step]
    element: Mapping[str, Any] | None = None
    for step in steps:
        if element is not None and element.get("vr") == "SQ":
            items = element.get("Value", [])
            if not step.isdigit() or int(step) >= len(items):
                raise UnknownResource(f"{path[:200]}: there is no item {step[:20]!r}")
            data_set, element = items[int(step)] or {}, None
            continue
        tag = "" if element else tag_of(step.replace("-", ","))
        if tag not in data_set:
            raise UnknownResource(f"{path[:200]}: the data set has no {step[:80]!r}")
        element = data_set[tag]
    if element is None:
        return json_response([format_tag(tag).replace(",", "-") for tag in sorted(data_set)])
    if element.get("vr") == "SQ":
        return json_response([str(number) for number in range(len(element.get("Value", [])))])
    if "InlineBinary" in element:
        return Response(base64.b64decode(element["InlineBinary"]), media_type="application/octet-stream")
    if "BulkDataURI" in element:
        raise UnknownResource(f"{path[:200]}: long binary values are served by DICOMweb, below /bulk")
    return Response(element_text(element), media_type="text/plain")


async def _header_below(state: AppState, kind: ResourceType, public_id: str) -> Mapping[str, Any]:
    """Return the header of the first instance of a resource."""
    found = await state.index.representatives(kind.level, [public_id])
    if public_id not in found:
        await state.index.get(kind.level, public_id)  # raises `ResourceNotFound`
        raise UnknownResource(f"the {kind.type.lower()} has no instance")
    (line,) = await read_lines(state.sidecars, [found[public_id]])
    return await asyncio.to_thread(parse_header, line.header.json)


async def _all_tags(
    state: AppState, public_id: str, form: TagFormat, *, any_length: bool
) -> AsyncGenerator[bytes, None]:
    """Yield a JSON object of all instances' tags by identifier, a batch of one sidecar at a time."""
    opening = b"{"
    async with aclosing(sidecar_batches(state.index.locate(InstanceScope(public_id=public_id)))) as found:
        async for batch in found:
            lines = await read_lines(state.sidecars, batch)
            for location, line in zip(batch, lines, strict=True):
                made = await asyncio.to_thread(_dumped, line.header.json, form, any_length)
                yield opening + orjson.dumps(location.public_id) + b":" + made
                opening = b","
    yield b"}" if opening == b"," else b"{}"


def _dumped(header: bytes, form: TagFormat, any_length: bool) -> bytes:
    return orjson.dumps(write_tags(parse_header(header), form, any_length=any_length))


def _file_meta(start: bytes) -> Mapping[str, Any]:
    meta = read_part10(start)
    begins = len(bytes(128) + b"DICM")
    read = HeaderReader().read(memoryview(start)[begins : meta.data_set_offset], EXPLICIT_VR_LITTLE_ENDIAN)
    return parse_header(read.json)
