"""Values of single elements: where they lie, and how one of them is sent (PS3.18 10.4.1.1.5)."""

import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.dicom.header.bulk import PIXEL_TAGS
from osteon.dicom.header.load import load_header, read_aside
from osteon.objects.port import Bytes
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, dicomweb_url
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resource_categories import (
    DOCUMENT,
    DOCUMENT_LENGTH,
    DataSet,
    data_set_at,
)
from osteon_query.http.accept import OCTETS, MediaRange
from osteon_query.http.byte_ranges import send_range
from osteon_query.http.conditional import entity_tag, not_modified, validator_headers
from osteon_query.http.errors import UnknownResource
from osteon_query.http.media_types import is_video
from osteon_query.packs.file_response import content_headers
from osteon_query.packs.items import ItemStart, count_bytes, single_item
from osteon_query.packs.metadata import instance_url
from osteon_query.packs.range_reader import StoredRange, read_ranges
from osteon_query.packs.stored_value import RangeSource, StoredValue, stored_value

PURPOSE: Final = "bulk"
_PATH: Final = re.compile(r"[0-9A-F]{8}(/\d{1,9}/[0-9A-F]{8}){0,100}", re.ASCII)
_PADDED_TEXTS: Final = ("text/", "model/obj", "model/mtl")
"""Documents in which a trailing NUL is padding (PS3.5 6.2, OB), and would be read as text."""


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A value in a media type: `read(skip, size)` gives `size` bytes of its `length` after the first `skip`."""

    media_type: str
    length: int
    source: RangeSource

    def read(self, skip: int, size: int) -> AsyncGenerator[Bytes, None]:
        """Read a part of the value, counted as sent."""
        return count_bytes(self.source(skip, size), PURPOSE)

    def content_type(self, transfer_syntax_uid: str) -> str:
        """Content-Type of the value; those of octets and videos name the transfer syntax (PS3.18 8.7.3.5)."""
        named = self.media_type == OCTETS or self.media_type.startswith("video/")
        return f"{self.media_type}; transfer-syntax={transfer_syntax_uid}" if named else self.media_type


def bulk_paths(line: SidecarLine) -> list[str]:
    """Return the paths of all values that metadata leaves out, as their BulkDataURI has them."""
    if line.header.bulk:
        return list(line.header.bulk)
    # Of a deflated data set the sidecar has no byte ranges.
    found = re.findall(rb'"BulkDataURI":"bulk/([0-9A-F/]+)"', line.header.json)
    return [path.decode() for path in found]


def is_pixel_data(line: SidecarLine, path: str) -> bool:
    """Whether a path is that of the instance's own pixel data."""
    pixels = line.header.pixel_data
    return path == pixels.tag if pixels is not None else path in PIXEL_TAGS


async def find_value(
    state: AppState, location: Location, line: SidecarLine, path: str, media_type: str = OCTETS
) -> BulkValue:
    """Return a value in the media type of its own, or as `application/octet-stream`: the bytes of the data set.

    A document in its own type has no padding; a video has no item heads. Raises `UnknownResource`.
    """
    if media_type.startswith("video/") and is_pixel_data(line, path) and is_video(location.transfer_syntax_uid):
        return await _video(state, location, line, media_type)
    value = await _stored(state, location, line, path)
    if media_type == OCTETS or path.rpartition("/")[2] != DOCUMENT or not value.length:
        return BulkValue(media_type, value.length, value.source)
    data_set = await _data_set_at(line, path) or {}
    lengths = data_set.get(DOCUMENT_LENGTH, {}).get("Value") or [None]
    length = value.length
    if lengths[0] == length - 1:
        length -= 1
    elif lengths == [None] and media_type.startswith(_PADDED_TEXTS):
        last = b"".join([bytes(chunk) async for chunk in value.source(length - 1, 1)])
        length -= last == b"\0"
    return BulkValue(media_type, length, value.source)


async def _data_set_at(line: SidecarLine, path: str) -> DataSet | None:
    return await read_aside(line.header.json, lambda: data_set_at(load_header(line.header.json), path))


async def _stored(state: AppState, location: Location, line: SidecarLine, path: str) -> StoredValue:
    known = path in line.header.bulk
    if known or (_PATH.fullmatch(path) and await _data_set_at(line, path) is not None):
        value = await stored_value(state.objects, location, line, path, state.limits.inflated_bytes)
        if value is not None:
            return value
    raise UnknownResource(f"instance {location.identity.sop_uid} has no bulk data {path[:200]!r}")


async def _video(state: AppState, location: Location, line: SidecarLine, media_type: str) -> BulkValue:
    """Return the bit stream of a video, which may be in several fragments (PS3.5 8.2.5)."""
    frame = (await state.frame_locator.locate(location, line.dataset_offset, line.header)).at(1)
    ranges = await state.fragments.locate(state.objects, frame)

    def source(skip: int, size: int) -> AsyncGenerator[Bytes, None]:
        async def wanted() -> AsyncGenerator[StoredRange, None]:
            for offset, length in cut_ranges(ranges, skip, size):
                yield StoredRange(location.key, offset, length, ItemStart())

        return _chunks(state, wanted())

    return BulkValue(media_type, sum(length for _, length in ranges), source)


async def _chunks(state: AppState, ranges: AsyncGenerator[StoredRange, None]) -> AsyncGenerator[Bytes, None]:
    async for item in read_ranges(state.objects, ranges):
        if not isinstance(item, ItemStart):
            yield item


def cut_ranges(ranges: Sequence[tuple[int, int]], skip: int, size: int) -> list[tuple[int, int]]:
    """Return the (offset, length) that hold `size` bytes after the first `skip` of ranges that follow each other."""
    found: list[tuple[int, int]] = []
    for offset, length in ranges:
        begin, stop = min(skip, length), min(skip + size, length)
        if begin < stop:
            found.append((offset + begin, stop - begin))
        skip, size = skip - begin, size - (stop - begin)
    return found


async def send_value(
    request: Request,
    state: AppState,
    location: Location,
    value: BulkValue,
    path: str,
    *,
    content_type: str,
    multipart: bool,
) -> Response:
    """Send a value in one part of a multipart response, or alone, where Range is honoured."""
    tag = entity_tag(location.sha256, "bulk", path, content_type, multipart)
    tag = f"W/{tag}" if multipart else tag
    if known := not_modified(request, tag):
        return known
    sent = validator_headers(tag, location)
    if multipart:
        part = ItemStart(content_type, value.length, bulk_url(request, state, location, path))
        items = single_item(part, value.read(0, value.length))
        return await send_multipart(request, items, value.media_type, headers=sent, parts=[part])
    name = location.identity.sop_uid + (f"-{path.replace('/', '-')}" if value.media_type == OCTETS else "")
    sent |= {"Content-Type": content_type, **content_headers(value.media_type, name)}
    return await send_range(request, value.read, value.length, sent)


def bulk_url(request: Request, state: AppState, location: Location, path: str) -> str:
    """Return the BulkDataURI of a value, as metadata has it."""
    return f"{instance_url(dicomweb_url(request, state), location)}/bulk/{path}"


def choose_value(ranges: Sequence[MediaRange], own: str) -> tuple[str, MediaRange] | None:
    """Return the best media type for a value, its own or octets, and the entry that accepts it; None when none does."""
    for entry in ranges:
        for media_type in (own, OCTETS):
            if entry.accepts(media_type):
                return media_type, entry
    return None
