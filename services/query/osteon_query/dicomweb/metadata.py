"""WADO-RS metadata: headers out of the sidecars, with the URLs of their bulk data made absolute (PS3.18 10.4.1.1.2).

For DICOM JSON nothing is parsed.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import __version__
from osteon.archive.resources import InstanceScope, Location
from osteon.dicom.xml import to_xml
from osteon.objects.port import Bytes
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resolve import resolve, scope_of
from osteon_query.http.accept import DICOM_JSON, DICOM_XML, accepts_json
from osteon_query.http.conditional import not_modified, validator_headers
from osteon_query.http.request_values import requests_original
from osteon_query.http.streaming import stream_response
from osteon_query.packs.items import ItemStart, ItemStream
from osteon_query.packs.metadata import instance_url, with_bulk_urls
from osteon_query.packs.sidecars import Sidecars, read_lines, sidecar_batches

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_CHUNK: Final = 256 << 10
"""Bytes of headers that are sent, or compressed, at once."""
_GZIP: Final = 31
"""For zlib: a gzip stream with the largest window."""
_FAST: Final = 1
"""Level of compression: headers of a series repeat so much that a higher one saves little."""


@router.get("/{study}/metadata")
async def study_metadata(request: Request, state: AppStateDep, study: str) -> Response:
    """Send the headers of a study."""
    return await _metadata(request, state, scope_of(study))


@router.get("/{study}/series/{series}/metadata")
async def series_metadata(request: Request, state: AppStateDep, study: str, series: str) -> Response:
    """Send the headers of a series."""
    return await _metadata(request, state, scope_of(study, series))


@router.get("/{study}/series/{series}/instances/{instance}/metadata")
async def instance_metadata(request: Request, state: AppStateDep, study: str, series: str, instance: str) -> Response:
    """Send the header of one instance."""
    return await _metadata(request, state, scope_of(study, series, instance))


async def _metadata(request: Request, state: AppState, scope: InstanceScope) -> Response:
    as_json = accepts_json(request)
    zipped = as_json and _accepts_gzip(request)
    found = await resolve(state, scope, original=requests_original(request))
    base = dicomweb_url(request, state)
    tag = found.tag("metadata", as_json, zipped, base, __version__) if found.rest is None else ""
    if tag and not as_json:
        tag = f"W/{tag}"  # The boundary of the parts is another one each time.
    if known := tag and not_modified(request, tag):
        return known
    headers = validator_headers(tag, *found.first) if tag else {}
    headers["Vary"] = "Accept, Accept-Encoding"
    if not as_json:
        return await send_multipart(request, _xml_parts(state.sidecars, found.all(), base), DICOM_XML, headers=headers)
    source = metadata(state.sidecars, found.all(), base)
    headers["Content-Type"] = DICOM_JSON
    if zipped:
        source, headers["Content-Encoding"] = _gzip(source), "gzip"
    return await stream_response(request, source, headers)


async def metadata(
    sidecars: Sidecars, locations: AsyncIterator[Location], dicomweb: str
) -> AsyncGenerator[Bytes, None]:
    """Yield a JSON array of the headers of instances; `dicomweb` is the base URL for their bulk data."""
    pending, size = [b"["], 0
    first = True
    async for location, line in _lines(sidecars, locations):
        header = with_bulk_urls(line.header.json, instance_url(dicomweb, location))
        pending.append(header if first else b",\n" + header)
        first = False
        size += len(header)
        if size >= _CHUNK:
            yield b"".join(pending)
            pending, size = [], 0
    yield b"".join((*pending, b"]"))


async def _lines(
    sidecars: Sidecars, locations: AsyncIterator[Location]
) -> AsyncGenerator[tuple[Location, SidecarLine], None]:
    async for batch in sidecar_batches(locations):
        for pair in zip(batch, await read_lines(sidecars, batch), strict=True):
            yield pair


async def _xml_parts(sidecars: Sidecars, locations: AsyncIterator[Location], dicomweb: str) -> ItemStream:
    async for location, line in _lines(sidecars, locations):
        header = with_bulk_urls(line.header.json, instance_url(dicomweb, location))
        document = await asyncio.to_thread(lambda header: to_xml(orjson.loads(header)), header)
        yield ItemStart(DICOM_XML, len(document))
        yield document


def _accepts_gzip(request: Request) -> bool:
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, parameter = each.replace(" ", "").partition(";")
        if name in ("gzip", "*"):
            return parameter not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _gzip(source: AsyncGenerator[Bytes, None]) -> AsyncGenerator[Bytes, None]:
    compressor = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
    async with aclosing(source):
        async for chunk in source:
            if compressed := await asyncio.to_thread(compressor.compress, chunk):
                yield compressed
    yield compressor.flush()
