"""WADO-RS bulk data: values of single elements, by a byte range of the pack (PS3.18 10.4.1.1.5).

The path is that of the metadata's BulkDataURI: tags, with the number of the item (from 0) between a sequence and what
is in it. Elements that metadata gives in full have such a path too, when their VR may have bulk data (PS3.18 F.2.2).
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.objects.port import Bytes
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.dicomweb.frames import send_frames
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resolve import resolve_one, scope_of
from osteon_query.http.accept import MULTIPART, OCTETS, media_ranges
from osteon_query.http.byte_ranges import send_range
from osteon_query.http.conditional import entity_tag, not_modified, validator_headers
from osteon_query.http.errors import NotAcceptable, UnknownResource
from osteon_query.packs.items import ItemStart, count_bytes, single_item
from osteon_query.packs.mapped_instance import map_instance
from osteon_query.packs.range_reader import read_range
from osteon_query.packs.sidecars import read_lines

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_PURPOSE: Final = "bulk"
_Source = Callable[[int, int], AsyncGenerator[Bytes, None]]
_PATH: Final = re.compile(r"[0-9A-F]{8}(/\d{1,9}/[0-9A-F]{8}){0,100}", re.ASCII)


@router.get("/{study}/series/{series}/instances/{instance}/bulk/{path:path}")
async def bulk_data(  # noqa: PLR0917 - the parameters are those of the URL
    request: Request, state: AppStateDep, study: str, series: str, instance: str, path: str
) -> Response:
    """Send the value of an element as it is in the data set; Range is honoured.

    Encapsulated pixel data come with their item heads, or frame by frame when an image type is accepted.
    """
    location = await resolve_one(state, scope_of(study, series, instance))
    (line,) = await read_lines(state.sidecars, [location])
    multipart = next((entry.multipart for entry in media_ranges(request) if entry.accepts(OCTETS)), None)
    if multipart is None:
        pixels = line.header.pixel_data
        if pixels is None or not pixels.encapsulated or path != pixels.tag:
            raise NotAcceptable(f"{path[:80]} is sent as {OCTETS}, alone or in {MULTIPART}, and Accept has neither")
        return await send_frames(request, state, location, [])
    tag = entity_tag(location.sha256, "bulk", path, multipart)
    tag = f"W/{tag}" if multipart else tag
    if known := not_modified(request, tag):
        return known
    value = await _value(state, location, line, path)
    kind = f"{OCTETS}; transfer-syntax={location.transfer_syntax_uid}"
    headers = validator_headers(tag, location)
    if multipart:
        part = ItemStart(kind, value.length)
        items = single_item(part, value.read(0, value.length))
        return await send_multipart(request, items, OCTETS, headers=headers, parts=[part])
    return await send_range(request, value.read, value.length, {**headers, "Content-Type": kind})


class _Value:
    """Where a value is: `offset` in what `source` reads, `length` in bytes."""

    def __init__(self, source: _Source, offset: int, length: int) -> None:
        self.length: Final = length
        self._source = source
        self._offset = offset

    def read(self, skip: int, size: int) -> AsyncGenerator[Bytes, None]:
        """Read `size` bytes of the value."""
        return count_bytes(self._source(self._offset + skip, size), _PURPOSE)


async def _value(state: AppState, location: Location, line: SidecarLine, path: str) -> _Value:
    """Find a value: most are in the sidecar, small ones and those of deflated data sets in the instance itself."""
    if path in line.header.bulk:
        offset, length = line.header.bulk[path]
        start = location.offset + line.dataset_offset

        def source(offset: int, length: int) -> AsyncGenerator[Bytes, None]:
            return read_range(state.objects, location.key, start + offset, length)

        return _Value(source, offset, length)
    unknown = UnknownResource(f"instance {location.identity.sop_uid} has no bulk data {path[:200]!r}")
    if not _PATH.fullmatch(path) or not _has(orjson.loads(line.header.json), path):
        raise unknown
    local = await map_instance(
        state.objects, location.key, location.offset, location.length, state.limits.inflated_bytes
    )
    found = (await asyncio.to_thread(local.values)).get(path)
    if found is None:
        raise unknown
    return _Value(local.read, *found)


def _has(header: Mapping[str, Any], path: str) -> bool:
    """Whether a header has an element, empty or not."""
    *steps, last = path.split("/")
    for tag, number in zip(steps[::2], steps[1::2], strict=True):
        items = header.get(tag, {}).get("Value", [])
        if int(number) >= len(items) or not isinstance(items[int(number)], dict):
            return False
        header = items[int(number)]
    return last in header
