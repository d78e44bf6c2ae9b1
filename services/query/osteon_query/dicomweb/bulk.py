"""WADO-RS bulk data: values of single elements, by a byte range of the pack (PS3.18 10.4.1.1.5).

The path is that of the metadata's BulkDataURI: tags, with the number of the item (from 0) between a sequence and what
is in it. Elements that metadata gives in full have such a path too, when their VR may have bulk data (PS3.18 F.2.2).
"""

import re
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.dicom.header.load import read_aside
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.dicomweb.bulk_values import bulk_url, choose_value, find_value, is_pixel_data, send_value
from osteon_query.dicomweb.frames import frame_numbers, send_frames
from osteon_query.dicomweb.resolve import resolve_one, scope_of
from osteon_query.dicomweb.resource_categories import own_media_type
from osteon_query.http.accept import ANY, MULTIPART, OCTETS, MediaRange, media_ranges
from osteon_query.http.errors import NotAcceptable
from osteon_query.http.media_types import is_native, is_video
from osteon_query.packs.sidecars import read_lines

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_FRAMES: Final = re.compile(r"(7FE000(?:08|09|10))/frames/([0-9,]+)", re.ASCII)


@router.get("/{study}/series/{series}/instances/{instance}/bulk/{path:path}")
async def bulk_data(  # noqa: PLR0917 - the parameters are those of the URL
    request: Request, state: AppStateDep, study: str, series: str, instance: str, path: str
) -> Response:
    """Send the value of an element, as it is in the data set or in a media type of its own; Range is honoured.

    Encapsulated pixel data come with their item heads, or frame by frame when an image type is accepted.
    """
    location = await resolve_one(state, scope_of(study, series, instance))
    (line,) = await read_lines(state.sidecars, [location])
    ranges = media_ranges(request)
    if found := _FRAMES.fullmatch(path):
        uri = bulk_url(request, state, location, found[1])
        return await send_frames(request, state, location, frame_numbers(found[2]), bulk_uri=uri)
    if by_frame(ranges, location, line, path):
        return await send_frames(request, state, location, [], bulk_uri=bulk_url(request, state, location, path))
    return await send_bulk(request, state, location, line, path)


async def send_bulk(request: Request, state: AppState, location: Location, line: SidecarLine, path: str) -> Response:
    """Send a value; raises `NotAcceptable`."""
    own = await read_aside(line.header.json, own_media_type, location, line, path)
    chosen = choose_value(media_ranges(request), own)
    if chosen is None:
        types = OCTETS if own == OCTETS else f"{own} or {OCTETS}"
        raise NotAcceptable(f"{path[:80]} is sent as {types}, alone or in {MULTIPART}, and Accept has none of these")
    media_type, entry = chosen
    value = await find_value(state, location, line, path, media_type)
    content_type = value.content_type(location.transfer_syntax_uid)
    return await send_value(request, state, location, value, path, content_type=content_type, multipart=entry.multipart)


def by_frame(ranges: list[MediaRange], location: Location, line: SidecarLine, path: str) -> bool:
    """Whether pixel data are requested as frames: as images, or compressed ones as octets without compression."""
    stored = location.transfer_syntax_uid
    if not is_pixel_data(line, path) or is_video(stored):
        return False
    for entry in ranges:
        if entry.accepts(OCTETS):
            return not is_native(stored) and entry.transfer_syntax not in ("", ANY, stored)
        if entry.root.startswith("image/"):
            return True
    return False
