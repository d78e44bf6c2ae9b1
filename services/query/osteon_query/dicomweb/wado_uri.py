"""WADO-URI: one instance by a query string, as DICOM file or picture (PS3.18 section 9)."""

from typing import Final

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope, Location
from osteon.dicom.header.load import load_header, read_aside
from osteon.dicom.pixels.errors import PixelError
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep
from osteon_query.dicomweb.renditions import HTML, category_and_types, send_rendition, warn_of_picture_parameters
from osteon_query.dicomweb.resolve import ResolvedInstances, resolve
from osteon_query.dicomweb.wado import send_instance
from osteon_query.http.accept import DICOM, AcceptedSyntaxes, media_ranges, read_ranges
from osteon_query.http.errors import BadParameter, NotAcceptable, NotRenderable, NotSupported, UnknownResource
from osteon_query.http.media_types import is_video
from osteon_query.http.request_values import correlation_id, uid_of
from osteon_query.images.frame_count import frame_count
from osteon_query.images.parameters import MAX_SIDE, Viewport, decimal, whole
from osteon_query.images.picture_response import GIF, JPEG, PNG, send_picture
from osteon_query.images.render_client import picture_request
from osteon_query.packs.frames import layout_of
from osteon_query.packs.sidecars import read_lines

router = APIRouter(tags=["WADO-URI"])

_PURPOSE: Final = "wado-uri"
_PICTURES: Final = (JPEG, PNG, GIF)
_OF_PICTURES: Final = (
    "frameNumber", "rows", "columns", "region", "windowCenter", "windowWidth", "imageQuality",
)  # fmt: skip
_REGION: Final = 4


@router.get("/wado")
async def wado_uri(request: Request, state: AppStateDep) -> Response:
    """Send the instance `objectUID` as `contentType`: application/dicom, image/jpeg, image/png or image/gif.

    Reports come as text/html or text/plain, documents and videos in the media type of their own.
    """
    query = request.query_params
    _check_supported(query)
    scope = InstanceScope(
        study_uid=_uid(query, "studyUID"), series_uid=_uid(query, "seriesUID"), sop_uids=(_uid(query, "objectUID"),)
    )
    found = await resolve(state, scope)
    (line,) = await read_lines(state.sidecars, found.first)
    media_type = await _media_type(request, state, found.first[0], line)
    if media_type == DICOM:
        return await _file(request, state, found)
    if media_type not in _PICTURES:
        warn_of_picture_parameters(request, state, _OF_PICTURES)
        return await send_rendition(request, state, found.first[0], line, media_type)
    return await _picture(request, state, found.first[0], line, media_type)


def _check_supported(query: QueryParams) -> None:
    """Raise `BadParameter` when it is not a WADO request, `NotSupported` for an operation that is not supported."""
    if query.get("requestType", "").upper() != "WADO":
        raise BadParameter("requestType=WADO is missing")
    if query.get("anonymize", "no") != "no":
        raise NotSupported("anonymize: instances are not anonymized; omit it")
    for name in ("presentationUID", "presentationSeriesUID"):
        if name in query:
            raise NotSupported(f"{name}: presentation states are not applied; omit it")


def _uid(query: QueryParams, name: str) -> str:
    if name not in query:
        raise BadParameter(f"{name} is missing: a WADO request has studyUID, seriesUID and objectUID")
    return uid_of(name, query[name])


async def _media_type(request: Request, state: AppState, location: Location, line: SidecarLine) -> str:
    """Choose a media type out of `contentType`, else of Accept (9.4.1.2.1, 9.5).

    By default images of one frame come as JPEG and reports as HTML.
    """
    pictured = line.header.pixel_data is not None and not is_video(location.transfer_syntax_uid)
    single = pictured and await frame_count(state.sidecars, state.frame_locator, location) == 1
    _, others = await read_aside(line.header.json, category_and_types, location, line)
    if HTML in others:
        offered = (*others, DICOM)
    elif others:
        offered = (DICOM, *others)
    else:
        offered = (*_PICTURES, DICOM) if single else (DICOM, *_PICTURES)
    text = request.query_params.get("contentType", "")
    for entry in read_ranges(text) if text else media_ranges(request):
        for media_type in offered:
            if entry.accepts(media_type) and not entry.multipart:
                return media_type
    raise NotAcceptable(f"contentType: expected one of {', '.join(offered)}")


async def _file(request: Request, state: AppState, found: ResolvedInstances) -> Response:
    warn_of_picture_parameters(request, state, _OF_PICTURES)
    uid = request.query_params.get("transferSyntax")
    return await send_instance(
        request, state, found, AcceptedSyntaxes({uid: 1.0}) if uid else AcceptedSyntaxes.of(()), purpose=_PURPOSE
    )


async def _picture(
    request: Request, state: AppState, location: Location, line: SidecarLine, media_type: str
) -> Response:
    query = request.query_params
    number = whole("frameNumber", query["frameNumber"], 1, 10**9 - 1) if "frameNumber" in query else None
    if number is not None and number > (count := await frame_count(state.sidecars, state.frame_locator, location)):
        raise UnknownResource(f"frameNumber: there is no frame {number}: the instance has {count}, counted from 1")
    message = picture_request(
        location,
        correlation_id(request),
        mode="rendered",
        media_type=media_type,
        frames=[number] if number else [] if media_type == GIF else [1],
        quality=whole("imageQuality", query["imageQuality"], 1, 100) if "imageQuality" in query else 90,
        window=_window(query),
        viewport=await read_aside(line.header.json, _viewport, query, line),
    )
    try:
        return await send_picture(request, state.pictures, location, message)
    except NotRenderable as error:
        raise NotAcceptable(f"{error}; contentType={DICOM} is possible") from None


def _window(query: QueryParams) -> tuple[float, float, str] | None:
    if "windowCenter" not in query and "windowWidth" not in query:
        return None
    if "windowCenter" not in query or "windowWidth" not in query:
        raise BadParameter("windowCenter and windowWidth: expected both or neither")
    width = decimal("windowWidth", query["windowWidth"])
    if width < 1:
        raise BadParameter(f"windowWidth: expected 1 or more, got {width:g}")
    return decimal("windowCenter", query["windowCenter"]), width, "linear"


def _viewport(query: QueryParams, line: SidecarLine) -> Viewport | None:
    """Return the size of the picture and the region in it; the proportions of the image are kept."""
    sizes = [whole(name, query[name], 1, MAX_SIDE) if name in query else None for name in ("columns", "rows")]
    if "region" not in query:
        if not any(sizes):
            return None
        return sizes[0] or MAX_SIDE, sizes[1] or MAX_SIDE, None, None, None, None
    parts = [decimal("region", part) for part in query["region"].split(",")]  # parts of the image (9.4.1.2.6)
    if len(parts) != _REGION or not (0 <= parts[0] < parts[2] <= 1 and 0 <= parts[1] < parts[3] <= 1):
        raise BadParameter("region: expected left,top,right,bottom from 0.0 to 1.0")
    try:
        layout = layout_of(load_header(line.header.json))
    except PixelError as error:
        raise NotAcceptable(f"region: {error}") from None
    left, top, right, bottom = parts
    sx, sw = left * layout.columns, (right - left) * layout.columns
    sy, sh = top * layout.rows, (bottom - top) * layout.rows
    if not any(sizes):
        sizes = [max(1, round(sw)), max(1, round(sh))]
    return sizes[0] or MAX_SIDE, sizes[1] or MAX_SIDE, sx, sy, sw, sh
