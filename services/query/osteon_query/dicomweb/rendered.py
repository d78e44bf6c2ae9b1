"""WADO-RS: rendered instances and frames, and thumbnails of everything (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from collections.abc import AsyncIterator
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import Location
from osteon.contracts.imaging import RenderRequest
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resolve import ResolvedInstances, resolve, resolve_one, scope_of
from osteon_query.dicomweb.wado import INSTANCE, SERIES
from osteon_query.http.conditional import not_modified, validator_headers
from osteon_query.http.errors import BadParameter, NotRenderable, UnknownResource
from osteon_query.http.request_values import correlation_id, uid_of
from osteon_query.images import parameters, representative
from osteon_query.images.frame_count import frame_count
from osteon_query.images.picture_response import GIF, JPEG, PNG, PURPOSE, choose, send_picture
from osteon_query.images.render_client import picture_request, render_in_order
from osteon_query.images.thumbnails import thumbnail_request
from osteon_query.packs.items import ItemStart, ItemStream, count_bytes

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_OFFERED: Final = (JPEG, PNG, GIF)
_STILL: Final = (JPEG, PNG)
_MAX_FRAMES: Final = 1000
"""Numbers in one list of frames."""


@router.get("/{study}/rendered")
async def rendered_study(request: Request, state: AppStateDep, study: str) -> Response:
    """Send pictures of all instances of a study."""
    return await _rendered(request, state, await resolve(state, scope_of(study)))


@router.get(SERIES + "/rendered")
async def rendered_series(request: Request, state: AppStateDep, study: str, series: str) -> Response:
    """Send pictures of all instances of a series."""
    return await _rendered(request, state, await resolve(state, scope_of(study, series)))


@router.get(INSTANCE + "/rendered")
async def rendered_instance(request: Request, state: AppStateDep, study: str, series: str, instance: str) -> Response:
    """Send a picture of an instance: as GIF or in parts all frames, as one PNG or JPEG the first."""
    return await _rendered(request, state, await resolve(state, scope_of(study, series, instance)), single=True)


@router.get(INSTANCE + "/frames/{frames}/rendered")
async def rendered_frames(  # noqa: PLR0917 - the parameters are those of the URL
    request: Request, state: AppStateDep, study: str, series: str, instance: str, frames: str
) -> Response:
    """Send pictures of frames, counted from 1."""
    found = await resolve(state, scope_of(study, series, instance))
    numbers = await _frames(state, found.first[0], frames)
    return await _rendered(request, state, found, numbers=numbers, single=len(numbers) == 1)


@router.get("/{study}/thumbnail")
async def study_thumbnail(request: Request, state: AppStateDep, study: str) -> Response:
    """Send a small picture of the image in the middle of the study's largest series."""
    return await _thumbnail(request, state, await representative.of_study(state.index, uid_of("the study", study)))


@router.get(SERIES + "/thumbnail")
async def series_thumbnail(request: Request, state: AppStateDep, study: str, series: str) -> Response:
    """Send a small picture of the image in the middle of a series."""
    uids = uid_of("the study", study), uid_of("the series", series)
    return await _thumbnail(request, state, await representative.of_series(state.index, *uids))


@router.get(INSTANCE + "/thumbnail")
async def instance_thumbnail(request: Request, state: AppStateDep, study: str, series: str, instance: str) -> Response:
    """Send a small picture of an instance."""
    return await _thumbnail(request, state, await resolve_one(state, scope_of(study, series, instance)))


@router.get(INSTANCE + "/frames/{frames}/thumbnail")
async def frame_thumbnail(  # noqa: PLR0917 - the parameters are those of the URL
    request: Request, state: AppStateDep, study: str, series: str, instance: str, frames: str
) -> Response:
    """Send a small picture of a frame, of the first one in a list."""
    location = await resolve_one(state, scope_of(study, series, instance))
    return await _thumbnail(request, state, location, frame=(await _frames(state, location, frames))[0])


async def _thumbnail(request: Request, state: AppState, location: Location | None, *, frame: int = 1) -> Response:
    if location is None:
        raise UnknownResource("not found, or empty")
    media_type, _ = choose(request, _STILL)
    message = thumbnail_request(
        location,
        correlation_id(request),
        frame=frame,
        media_type=media_type,
        viewport=parameters.viewport(request.query_params, region=False),
    )
    return await send_picture(request, state.pictures, location, message)


async def _rendered(
    request: Request,
    state: AppState,
    found: ResolvedInstances,
    *,
    numbers: list[int] | None = None,
    single: bool = False,
) -> Response:
    """Send one image where one is requested and can be enough, else parts."""
    media_type, entry = choose(request, _OFFERED)
    query = request.query_params
    parameters.refuse_annotation(query)
    options: dict[str, object] = {
        "mode": "rendered",
        "media_type": media_type,
        "quality": parameters.quality(query),
        "window": parameters.window(query),
        "viewport": parameters.viewport(query, region=True),
    }
    warning = parameters.unsupported_warning(query)
    headers = {"Warning": f'299 {dicomweb_url(request, state)} "{warning}"'} if warning else {}
    if not entry.multipart and (single or media_type == GIF) and len(found.first) == 1:
        location = found.first[0]
        frames = (numbers or []) if media_type == GIF else [(numbers or [1])[0]]
        message = picture_request(location, correlation_id(request), frames=frames, **options)
        return await send_picture(request, state.pictures, location, message, headers=headers)
    tag = f"W/{found.tag('rendered', sorted(options.items()), numbers)}" if found.rest is None else ""
    if known := tag and not_modified(request, tag):
        return known
    messages = _messages(state, found, numbers, correlation_id(request), options)
    headers |= validator_headers(tag, *found.first) if tag else {}
    return await send_multipart(request, _parts(state, messages), media_type, headers=headers)


async def _messages(
    state: AppState,
    found: ResolvedInstances,
    numbers: list[int] | None,
    correlation_id: str,
    options: dict[str, object],
) -> AsyncIterator[RenderRequest]:
    """Yield a request for each picture: of each frame, or of all of them as GIF."""
    async for location in found.all():
        if options["media_type"] == GIF:
            yield picture_request(location, correlation_id, frames=numbers or [], **options)
            continue
        for number in numbers or range(1, await frame_count(state.sidecars, state.frame_locator, location) + 1):
            yield picture_request(location, correlation_id, frames=[number], **options)


async def _parts(state: AppState, messages: AsyncIterator[RenderRequest]) -> ItemStream:
    """Yield the pictures; instances that show nothing are left out, and `NotRenderable` when none shows anything."""
    refused: NotRenderable | None = None
    empty = True
    async for picture in render_in_order(state.pictures, messages):
        if isinstance(picture, NotRenderable):
            refused = picture
            continue
        empty = False
        yield ItemStart(picture.media_type, picture.length)
        async for chunk in count_bytes(picture.chunks, PURPOSE):
            yield chunk
    if empty and refused is not None:
        raise refused


async def _frames(state: AppState, location: Location, text: str) -> list[int]:
    """Return the numbers in a list of frames; raises `BadParameter`, `UnknownResource` for one that is not there."""
    parts = text.split(",")
    if len(parts) > _MAX_FRAMES:
        raise BadParameter(f"frames: {len(parts)} requested, at most {_MAX_FRAMES} are sent in one response")
    numbers = [parameters.whole("frames", part.strip(), 1, 10**9 - 1) for part in parts]
    if max(numbers) > 1 and max(numbers) > (count := await frame_count(state.sidecars, state.frame_locator, location)):
        raise UnknownResource(f"there is no frame {max(numbers)}: the instance has {count}, counted from 1")
    return numbers
