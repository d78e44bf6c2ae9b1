"""Orthanc REST: what is in instances and frames, as numbers (numpy, MATLAB) and as bytes (raw frames, PDF)."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.contracts.imaging import RenderRequest
from osteon.dicom.header.load import load_header, read_aside
from osteon.dicom.models import Level
from osteon.dicom.query import Order, Search
from osteon.objects.port import Bytes
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.http.byte_ranges import send_range
from osteon_query.http.errors import NotRenderable, UnknownResource
from osteon_query.http.media_types import media_type_of
from osteon_query.http.request_values import correlation_id, resource_id, warn
from osteon_query.http.streaming import stream_response
from osteon_query.images import parameters
from osteon_query.images.npy_writer import matlab, stack
from osteon_query.images.picture_response import PURPOSE, send_picture
from osteon_query.images.render_client import picture_request
from osteon_query.orthanc.rendering import frame_number, locate
from osteon_query.packs.file_response import content_headers
from osteon_query.packs.frames import read_frames
from osteon_query.packs.items import ItemStart, ItemStream, content_of, count_bytes
from osteon_query.packs.sidecars import read_lines
from osteon_query.packs.stored_value import stored_value
from osteon_query.packs.zip_stream import write_zip

router = APIRouter(tags=["Pictures"])

_OCTETS: Final = "application/octet-stream"
_GZIP: Final = 31
"""Window bits of zlib that mean a gzip header."""
_MOST_INSTANCES: Final = 10_000
_MOST_TEXT: Final = 64 << 20
"""Bytes of samples that are written as text at most."""
_DOCUMENT: Final = "00420011"
_PDF: Final = "application/pdf"


@router.get("/instances/{id}/numpy")
async def numpy_of_instance(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the samples of all frames as `.npy`, or `.npz` with `compress`: (frames, rows, columns, samples)."""
    location = await locate(state, id)
    return await send_picture(request, state.pictures, location, _numpy(request, location, []))


@router.get("/instances/{id}/frames/{frame}/numpy")
async def numpy_of_frame(request: Request, state: AppStateDep, id: str, frame: str) -> Response:
    """Send the samples of a frame."""
    location = await locate(state, id)
    wanted = _numpy(request, location, [await frame_number(state, location, frame)])
    return await send_picture(request, state.pictures, location, wanted)


@router.get("/series/{id}/numpy")
async def numpy_of_series(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the samples of all instances, by Instance Number, which have the same size and type."""
    series = await state.index.get(Level.SERIES, resource_id(id))
    order = (Order("InstanceNumber"),)
    page = await state.index.search(
        Search(Level.IMAGE, parents=(series.public_id,), order=order, limit=_MOST_INSTANCES + 1)
    )
    if len(page.matches) > _MOST_INSTANCES:
        raise NotRenderable(f"more than {_MOST_INSTANCES} instances exceed the limit of one file")
    compress = parameters.flag(request.query_params, "compress", default=False)
    locations = [match.instance.location for match in page.matches if match.instance is not None]
    messages = [(_numpy(request, location, [], compress=False), location) for location in locations]
    source = stack(state.pictures, messages)
    if compress:
        source = write_zip(_entry(source))
    return await stream_response(request, count_bytes(source, PURPOSE), {"Content-Type": _OCTETS})


async def _entry(source: AsyncGenerator[Bytes, None]) -> ItemStream:
    async with aclosing(source):
        # What cannot be rendered is reported while the status can still be an error.
        first = await anext(source)
        yield ItemStart(name="arr_0.npy")
        yield first
        async for chunk in source:
            yield chunk


def _numpy(
    request: Request,
    location: Location,
    frames: list[int],
    *,
    compress: bool | None = None,
    rescale: bool | None = None,
) -> RenderRequest:
    given = request.query_params
    return picture_request(
        location,
        correlation_id(request),
        frames=frames,
        mode="numpy",
        media_type=_OCTETS,
        rescale=parameters.flag(given, "rescale", default=True) if rescale is None else rescale,
        compress=parameters.flag(given, "compress", default=False) if compress is None else compress,
    )


@router.get("/instances/{id}/matlab")
async def matlab_of_instance(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the stored values of the first frame as a MATLAB matrix."""
    return await _matlab(request, state, await locate(state, id), 1)


@router.get("/instances/{id}/frames/{frame}/matlab")
async def matlab_of_frame(request: Request, state: AppStateDep, id: str, frame: str) -> Response:
    """Send the stored values of a frame as a MATLAB matrix."""
    location = await locate(state, id)
    return await _matlab(request, state, location, await frame_number(state, location, frame))


async def _matlab(request: Request, state: AppState, location: Location, frame: int) -> Response:
    message = _numpy(request, location, [frame], compress=False, rescale=False)
    picture = await state.pictures.get(message, location)
    if picture.length > _MOST_TEXT:
        raise NotRenderable(f"a frame of {picture.length} bytes is too large for text, the limit is {_MOST_TEXT}")
    file = b"".join([bytes(chunk) async for chunk in picture.chunks])
    text = await asyncio.to_thread(lambda: b"".join(matlab(file)))
    warn(request, "osteon", picture.warning)
    return Response(text, media_type="text/plain")


@router.get("/instances/{id}/frames/{frame}/raw")
async def raw(request: Request, state: AppStateDep, id: str, frame: str) -> Response:
    """Send the bytes of a frame as they are stored."""
    location = await locate(state, id)
    source = await _raw(request, state, location, await frame_number(state, location, frame))
    # Only what Orthanc's clients expect: RLE has no media type there.
    kind = media_type_of(location.transfer_syntax_uid)
    return await stream_response(request, source, {"Content-Type": _OCTETS if kind == "image/dicom-rle" else kind})


@router.get("/instances/{id}/frames/{frame}/raw.gz")
async def raw_gz(request: Request, state: AppStateDep, id: str, frame: str) -> Response:
    """Send the bytes of a frame as they are stored, packed by gzip."""
    location = await locate(state, id)
    source = await _raw(request, state, location, await frame_number(state, location, frame))
    return await stream_response(request, _gzip(source), {"Content-Type": "application/gzip"})


async def _raw(request: Request, state: AppState, location: Location, frame: int) -> AsyncGenerator[Bytes, None]:
    """Return the bytes of a frame; warns where pixel data is damaged."""
    line = (await read_lines(state.sidecars, [location]))[0]
    if line.header.pixel_data is None:
        raise NotRenderable(f"instance {location.identity.sop_uid} has no pixel data")
    stored = await state.frame_locator.locate(location, line.dataset_offset, line.header)
    source = content_of(read_frames(state.objects, [stored.at(frame)], [ItemStart()]), "frames")
    warn(request, "osteon", stored.problem)
    return source


async def _gzip(source: AsyncGenerator[Bytes, None]) -> AsyncGenerator[Bytes, None]:
    packer = zlib.compressobj(wbits=_GZIP)
    async with aclosing(source):
        async for chunk in source:
            yield await asyncio.to_thread(packer.compress, chunk)
    yield packer.flush()


@router.get("/instances/{id}/pdf")
async def pdf(request: Request, state: AppStateDep, id: str) -> Response:
    """Send the document of an Encapsulated PDF (PS3.3 C.24.2); Range is honoured."""
    location = await locate(state, id)
    (line,) = await read_lines(state.sidecars, [location])
    header = await read_aside(line.header.json, load_header, line.header.json)
    kind = header.get("00420012", {}).get("Value", [""])[0]
    if kind != _PDF or _DOCUMENT not in header:
        raise UnknownResource(f"instance {location.identity.sop_uid} is not an Encapsulated PDF")
    headers = {"Content-Type": _PDF, **content_headers(_PDF, location.identity.sop_uid)}
    value = await stored_value(state.objects, location, line, _DOCUMENT, state.limits.inflated_bytes)
    if value is None:
        raise UnknownResource(f"the document of instance {location.identity.sop_uid} is empty")
    return await send_range(request, value.source, value.length, headers)
