"""WADO-RS: rendered instances and frames, and thumbnails of everything (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from collections.abc import AsyncIterator
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import __version__
from osteon.archive.resources import Location
from osteon.contracts.imaging import RENDERING, RenderRequest
from osteon.dicom.header.load import read_aside
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.renditions import (
    category_and_types,
    rendered_value,
    send_rendition,
    warn_of_picture_parameters,
)
from osteon_query.dicomweb.resolve import ResolvedInstances, resolve, resolve_one, scope_of
from osteon_query.dicomweb.resource_categories import Category, category_of
from osteon_query.dicomweb.wado import INSTANCE, SERIES
from osteon_query.http.accept import media_ranges
from osteon_query.http.conditional import not_modified, validator_headers
from osteon_query.http.errors import BadParameter, NotAcceptable, NotRenderable, UnknownResource
from osteon_query.http.request_values import correlation_id, uid_of, warn
from osteon_query.images import parameters, representative
from osteon_query.images.frame_count import frame_count
from osteon_query.images.picture_response import GIF, JPEG, PNG, PURPOSE, choose, send_picture
from osteon_query.images.render_client import picture_request, render_in_order
from osteon_query.images.thumbnails import thumbnail_request
from osteon_query.packs.items import ItemStart, ItemStream, count_bytes
from osteon_query.packs.metadata import instance_url
from osteon_query.packs.sidecars import read_lines, sidecar_batches

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
    """Send one image where one is requested and can be enough, else parts; what is not drawn comes in its own type."""
    query = request.query_params
    if numbers is None and (response := await _undrawn(request, state, found, single=single)):
        return response
    media_type, entry = choose(request, _OFFERED)
    options: dict[str, object] = {
        "mode": "rendered",
        "media_type": media_type,
        "quality": parameters.quality(query),
        "window": parameters.window(query),
        "viewport": parameters.viewport(query, region=True),
    }
    if warning := parameters.unsupported_warning(query):
        warn(request, dicomweb_url(request, state), warning)
    if not entry.multipart and (single or media_type == GIF) and len(found.first) == 1:
        location = found.first[0]
        frames = (numbers or []) if media_type == GIF else [(numbers or [1])[0]]
        message = picture_request(location, correlation_id(request), frames=frames, **options)
        return await send_picture(request, state.pictures, location, message)
    tag = f"W/{found.tag('rendered', sorted(options.items()), numbers, RENDERING)}" if found.rest is None else ""
    if known := tag and not_modified(request, tag):
        return known
    messages = _messages(state, found, numbers, correlation_id(request), options)
    headers = validator_headers(tag, *found.first) if tag else {}
    return await send_multipart(request, _parts(state, messages), media_type, headers=headers)


async def _undrawn(request: Request, state: AppState, found: ResolvedInstances, *, single: bool) -> Response | None:
    """Send videos, documents or reports; None when the client prefers pictures, and has images to be shown."""
    if not single and all(entry.root.startswith("image/") for entry in media_ranges(request)):
        return None
    types, images = await _types_of(state, found)
    if not types:
        if single:
            await _refuse_undrawable(request, state, found.first[0])
        return None
    media_type, entry = choose(request, (*_OFFERED, *types) if images else types)
    if media_type not in types:
        return None
    warn_of_picture_parameters(request, state)
    if single:
        (line,) = await read_lines(state.sidecars, found.first)
        return await send_rendition(request, state, found.first[0], line, media_type, multipart=entry.multipart)
    tag = f"W/{found.tag('renditions', media_type, __version__)}" if found.rest is None else ""
    if known := tag and not_modified(request, tag):
        return known
    headers = validator_headers(tag, *found.first) if tag else {}
    return await send_multipart(request, _renditions(state, found, media_type), media_type, headers=headers)


async def _refuse_undrawable(request: Request, state: AppState, location: Location) -> None:
    """Raise `NotAcceptable` for a document or waveform that is not drawn here, and say where its values are."""
    (line,) = await read_lines(state.sidecars, [location])
    category = await read_aside(line.header.json, category_of, location, line)
    if category in (Category.DOCUMENT, Category.WAVEFORM):
        url = instance_url(dicomweb_url(request, state), location)
        raise NotAcceptable(f"a {category.value} of this type is not drawn; its values are at {url}/bulkdata")


async def _types_of(state: AppState, found: ResolvedInstances) -> tuple[list[str], bool]:
    """Return the media types of the instances that are not drawn, and whether there are images among the others."""
    types: dict[str, None] = {}
    images = False
    async for batch in sidecar_batches(found.beginning()):
        for location, line in zip(batch, await read_lines(state.sidecars, batch), strict=True):
            category, own = await read_aside(line.header.json, category_and_types, location, line)
            types |= dict.fromkeys(own)
            images = images or category is Category.IMAGE
    return list(types), images


async def _renditions(state: AppState, found: ResolvedInstances, media_type: str) -> ItemStream:
    """Yield the instances that have a media type, each as a part."""
    async for batch in sidecar_batches(found.all()):
        for location, line in zip(batch, await read_lines(state.sidecars, batch), strict=True):
            if media_type in (await read_aside(line.header.json, category_and_types, location, line))[1]:
                value = await rendered_value(state, location, line, media_type)
                yield ItemStart(value.media_type, value.length)
                async for chunk in value.read(0, value.length):
                    yield chunk


async def _messages(
    state: AppState,
    found: ResolvedInstances,
    numbers: list[int] | None,
    correlation_id: str,
    options: dict[str, object],
) -> AsyncIterator[tuple[RenderRequest, Location]]:
    """Yield a request for each picture: of each frame, or of all of them as GIF."""
    async for location in found.all():
        if options["media_type"] == GIF:
            yield picture_request(location, correlation_id, frames=numbers or [], **options), location
            continue
        for number in numbers or range(1, await frame_count(state.sidecars, state.frame_locator, location) + 1):
            yield picture_request(location, correlation_id, frames=[number], **options), location


async def _parts(state: AppState, messages: AsyncIterator[tuple[RenderRequest, Location]]) -> ItemStream:
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
