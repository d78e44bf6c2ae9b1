"""WADO-RS metadata: headers out of the sidecars, with the URLs of their bulk data made absolute (PS3.18 10.4.1.1.2).

For DICOM JSON nothing is parsed: a sidecar writes each reference as `"BulkDataURI":"bulk/…"`, and no JSON text can hold
these bytes, as its quotes would be escaped.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import __version__
from osteon.archive.resources import InstanceScope, Location
from osteon.dicom.xml import to_xml
from osteon.errors import NotFound
from osteon.objects.port import Bytes
from osteon.packs.sidecar import SidecarLine
from osteon_query.dicomweb.scopes import find, scope_of
from osteon_query.dicomweb.sending import Part, send_parts
from osteon_query.http.accept import DICOM_JSON, DICOM_XML, takes_json
from osteon_query.http.context import Door, DoorOf, dicomweb_url
from osteon_query.http.errors import Unreadable
from osteon_query.http.streaming import streamed
from osteon_query.http.validators import not_modified, validators
from osteon_query.packs.sidecars import Sidecars

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_MARK: Final = b'"BulkDataURI":"bulk/'
_BATCH: Final = 256
_CHUNK: Final = 256 << 10
"""Bytes of headers that are sent, or compressed, at once."""
_GZIP: Final = 31
"""For zlib: a gzip stream with the largest window."""
_FAST: Final = 1
"""Level of compression: headers of a series repeat so much that a higher one saves little."""


@router.get("/{study}/metadata")
async def study_metadata(request: Request, door: DoorOf, study: str) -> Response:
    """Send the headers of a study."""
    return await _metadata(request, door, scope_of(study))


@router.get("/{study}/series/{series}/metadata")
async def series_metadata(request: Request, door: DoorOf, study: str, series: str) -> Response:
    """Send the headers of a series."""
    return await _metadata(request, door, scope_of(study, series))


@router.get("/{study}/series/{series}/instances/{instance}/metadata")
async def instance_metadata(request: Request, door: DoorOf, study: str, series: str, instance: str) -> Response:
    """Send the header of one instance."""
    return await _metadata(request, door, scope_of(study, series, instance))


async def _metadata(request: Request, door: Door, scope: InstanceScope) -> Response:
    as_json = takes_json(request)
    zipped = as_json and _takes_gzip(request)
    found = await find(door.index, scope)
    base = dicomweb_url(request, door)
    tag = found.tag("metadata", as_json, zipped, base, __version__) if found.rest is None else ""
    if tag and not as_json:
        tag = f"W/{tag}"  # The boundary of the parts is another one each time.
    if known := tag and not_modified(request, tag):
        return known
    headers = validators(tag, *found.first) if tag else {}
    headers["Vary"] = "Accept, Accept-Encoding"
    if not as_json:
        return await send_parts(request, _xml_parts(door.sidecars, found.all(), base), DICOM_XML, headers=headers)
    source = metadata(door.sidecars, found.all(), base)
    headers["Content-Type"] = DICOM_JSON
    if zipped:
        source, headers["Content-Encoding"] = _gzipped(source), "gzip"
    return await streamed(request, source, headers)


async def lines_of(sidecars: Sidecars, locations: Sequence[Location]) -> list[SidecarLine]:
    """Return the sidecar lines of instances; one that the store has lost is `Unreadable`, not unknown."""
    try:
        return await sidecars.lines_of(locations)
    except NotFound as error:
        raise Unreadable(f"the index names a sidecar that can not be read: {error}") from None


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
    async for batch in batches(locations):
        for pair in zip(batch, await lines_of(sidecars, batch), strict=True):
            yield pair


async def _xml_parts(
    sidecars: Sidecars, locations: AsyncIterator[Location], dicomweb: str
) -> AsyncGenerator[Part | Bytes, None]:
    async for location, line in _lines(sidecars, locations):
        header = with_bulk_urls(line.header.json, instance_url(dicomweb, location))
        document = await asyncio.to_thread(lambda header: to_xml(orjson.loads(header)), header)
        yield Part(DICOM_XML, len(document))
        yield document


def instance_url(dicomweb: str, location: Location) -> str:
    """Return the URL of an instance."""
    identity = location.identity
    return f"{dicomweb}/studies/{identity.study_uid}/series/{identity.series_uid}/instances/{identity.sop_uid}"


def with_bulk_urls(header: bytes, instance: str) -> bytes:
    """Put an instance's URL before the paths of its bulk data."""
    return header.replace(_MARK, b'"BulkDataURI":' + orjson.dumps(instance)[:-1] + b"/bulk/")


async def batches(locations: AsyncIterator[Location]) -> AsyncGenerator[list[Location], None]:
    """Gather neighbours: each batch is of one sidecar."""
    batch: list[Location] = []
    async for location in locations:
        # A sidecar is read once a batch, so a batch never mixes two without need.
        if batch and (len(batch) >= _BATCH or location.sidecar_key != batch[-1].sidecar_key):
            yield batch
            batch = []
        batch.append(location)
    if batch:
        yield batch


def _takes_gzip(request: Request) -> bool:
    for each in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, parameter = each.replace(" ", "").partition(";")
        if name in ("gzip", "*"):
            return parameter not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _gzipped(source: AsyncGenerator[Bytes, None]) -> AsyncGenerator[Bytes, None]:
    compressor = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
    async with aclosing(source):
        async for chunk in source:
            if compressed := await asyncio.to_thread(compressor.compress, chunk):
                yield compressed
    yield compressor.flush()
