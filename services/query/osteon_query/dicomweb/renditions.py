"""Rendered resources that are not drawn: videos, documents, and structured reports as text (PS3.18 8.7.4)."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from osteon import __version__
from osteon.archive.resources import Location
from osteon.dicom.header.load import load_header, read_aside
from osteon.errors import Invalid
from osteon.objects.port import Bytes
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, dicomweb_url
from osteon_query.dicomweb.bulk_values import BulkValue, bulk_paths, find_value, is_pixel_data, send_value
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resource_categories import DOCUMENT, Category, category_of, own_media_type
from osteon_query.http.accept import OCTETS
from osteon_query.http.byte_ranges import send_range
from osteon_query.http.conditional import entity_tag, not_modified, validator_headers
from osteon_query.http.errors import TooLarge
from osteon_query.http.request_values import warn
from osteon_query.packs.items import ItemStart, single_item
from osteon_query.packs.mapped_instance import map_instance
from osteon_query.reports.content_tree import read_report
from osteon_query.reports.writers import HTML_POLICY, to_html, to_text

HTML: Final = "text/html"
TEXT: Final = "text/plain"
_UTF_8: Final = "; charset=utf-8"
_BULK: Final = b'"BulkDataURI":"bulk/'
_MAX_REPORT: Final = 32 << 20
"""Bytes of an instance that is read again for texts that are too long for its sidecar."""
_LONGEST_TEXT: Final = 1 << 20
_OF_PICTURES: Final = ("window", "viewport", "quality", "iccprofile", "annotation")
"""Query parameters of the rendered resources of WADO-RS."""


def category_and_types(location: Location, line: SidecarLine) -> tuple[Category, tuple[str, ...]]:
    """Return what an instance shows, and its media types that need no drawing, the default first; none of images."""
    category = category_of(location, line)
    match category:
        case Category.VIDEO:
            assert line.header.pixel_data is not None
            return category, (own_media_type(location, line, line.header.pixel_data.tag),)
        case Category.DOCUMENT if (own := own_media_type(location, line, DOCUMENT)) != OCTETS:
            return category, (own,)
        case Category.REPORT:
            return category, (HTML, TEXT)
        case _:
            return category, ()


async def rendered_value(state: AppState, location: Location, line: SidecarLine, media_type: str) -> BulkValue:
    """Return an instance in one of its types."""
    if not await _is_report(location, line):
        return await find_value(state, location, line, _path(line), media_type)
    header = await _whole_header(state, location, line)
    data = await asyncio.to_thread(_write, header, media_type)

    async def source(skip: int, size: int) -> AsyncGenerator[Bytes, None]:
        yield data[skip : skip + size]

    return BulkValue(media_type + _UTF_8, len(data), source)


async def _is_report(location: Location, line: SidecarLine) -> bool:
    return await read_aside(line.header.json, category_of, location, line) is Category.REPORT


def _path(line: SidecarLine) -> str:
    return next((path for path in bulk_paths(line) if is_pixel_data(line, path)), DOCUMENT)


async def _whole_header(state: AppState, location: Location, line: SidecarLine) -> bytes:
    """Return the header with the long texts that the sidecar leaves out, where the instance can be read for them."""
    if _BULK not in line.header.json or location.length > _MAX_REPORT:
        return line.header.json
    try:
        local = await map_instance(state.objects, location.key, location.offset, location.length, _MAX_REPORT)
        return (await asyncio.to_thread(local.header, _LONGEST_TEXT)).json
    except (Invalid, TooLarge):
        return line.header.json


def _write(header: bytes, media_type: str) -> bytes:
    report = read_report(load_header(header))
    return (to_html(report) if media_type == HTML else to_text(report)).encode()


async def send_rendition(
    request: Request,
    state: AppState,
    location: Location,
    line: SidecarLine,
    media_type: str,
    *,
    multipart: bool = False,
) -> Response:
    """Send an instance in one of its types; alone, Range is honoured."""
    if media_type not in (HTML, TEXT) or not await _is_report(location, line):
        path = _path(line)
        value = await find_value(state, location, line, path, media_type)
        return await send_value(request, state, location, value, path, content_type=media_type, multipart=multipart)
    tag = entity_tag(location.sha256, "report", media_type, multipart, __version__)
    if known := not_modified(request, tag):
        return known
    value = await rendered_value(state, location, line, media_type)
    headers = {**validator_headers(tag, location), "Content-Security-Policy": HTML_POLICY}
    if multipart:
        part = ItemStart(value.media_type, value.length)
        items = single_item(part, value.read(0, value.length))
        return await send_multipart(request, items, media_type, headers=headers, parts=[part])
    return await send_range(request, value.read, value.length, {**headers, "Content-Type": value.media_type})


def warn_of_picture_parameters(request: Request, state: AppState, names: Sequence[str] = _OF_PICTURES) -> None:
    """Add a Warning about parameters of pictures, which change nothing in what is not drawn."""
    if ignored := [name for name in names if name in request.query_params]:
        warn(request, dicomweb_url(request, state), f"{', '.join(ignored)}: only for pictures, which this is not")
