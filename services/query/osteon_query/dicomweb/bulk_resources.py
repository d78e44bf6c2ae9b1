"""WADO-RS: all bulk data, or the pixel data, of studies, series and instances (PS3.18 10.4.1.1.5, 10.4.3.3.5).

Each value is a part whose Content-Location is its BulkDataURI. Images that are not stored as little endian come frame
by frame, with `/frames/<number>` behind that where there are several.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon.archive.resources import InstanceScope, Location
from osteon.dicom.header.load import read_aside
from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.errors import Invalid
from osteon.logging import get_logger
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.dicomweb.bulk import by_frame, send_bulk
from osteon_query.dicomweb.bulk_values import bulk_paths, bulk_url, choose_value, find_value, is_pixel_data
from osteon_query.dicomweb.frame_formats import FrameFormat, frame_format
from osteon_query.dicomweb.frames import frame_items, send_frames
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resolve import ResolvedInstances, resolve, scope_of
from osteon_query.dicomweb.resource_categories import own_media_type
from osteon_query.http.accept import MULTIPART, OCTETS, MediaRange, media_ranges
from osteon_query.http.conditional import not_modified, validator_headers
from osteon_query.http.errors import NotAcceptable, StoredDataUnreadable, UnknownResource
from osteon_query.http.media_types import is_native, is_video
from osteon_query.http.request_values import warn
from osteon_query.packs.items import ItemStart, ItemStream
from osteon_query.packs.sidecars import read_lines, sidecar_batches

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

log = get_logger(__name__)


@router.get("/{study}/bulkdata")
async def study_bulk_data(request: Request, state: AppStateDep, study: str) -> Response:
    """Send the bulk data of a study."""
    return await send_all(request, state, scope_of(study))


@router.get("/{study}/series/{series}/bulkdata")
async def series_bulk_data(request: Request, state: AppStateDep, study: str, series: str) -> Response:
    """Send the bulk data of a series."""
    return await send_all(request, state, scope_of(study, series))


@router.get("/{study}/series/{series}/instances/{instance}/bulkdata")
async def instance_bulk_data(request: Request, state: AppStateDep, study: str, series: str, instance: str) -> Response:
    """Send the bulk data of an instance; a single value may come alone."""
    return await send_all(request, state, scope_of(study, series, instance))


@router.get("/{study}/pixeldata")
async def study_pixel_data(request: Request, state: AppStateDep, study: str) -> Response:
    """Send the pixel data of a study."""
    return await send_all(request, state, scope_of(study), pixels_only=True)


@router.get("/{study}/series/{series}/pixeldata")
async def series_pixel_data(request: Request, state: AppStateDep, study: str, series: str) -> Response:
    """Send the pixel data of a series."""
    return await send_all(request, state, scope_of(study, series), pixels_only=True)


@router.get("/{study}/series/{series}/instances/{instance}/pixeldata")
async def instance_pixel_data(request: Request, state: AppStateDep, study: str, series: str, instance: str) -> Response:
    """Send the pixel data of an instance; a video or a single frame may come alone."""
    return await send_all(request, state, scope_of(study, series, instance), pixels_only=True)


async def send_all(request: Request, state: AppState, scope: InstanceScope, *, pixels_only: bool = False) -> Response:
    """Send all bulk data of a scope that Accept allows; raises `NotAcceptable`, `UnknownResource` without any."""
    found = await resolve(state, scope)
    ranges = media_ranges(request)
    if scope.sop_uids:
        (line,) = await read_lines(state.sidecars, found.first)
        paths = _paths(line, pixels_only=pixels_only)
        if len(paths) == 1:
            return await _send_only(request, state, found.first[0], line, paths[0])
    # Weak: the boundary of the parts is another one each time.
    facts = "bulkdata", pixels_only, dicomweb_url(request, state), [repr(entry) for entry in ranges]
    tag = f"W/{found.tag(*facts)}" if found.rest is None else ""
    if known := tag and not_modified(request, tag):
        return known
    ranges = [entry for entry in ranges if entry.multipart or entry.type == "*/*"]
    count, omitted, media_type = await _survey(state, found, ranges, pixels_only=pixels_only)
    if found.rest is None and not count:
        what = "pixel data" if pixels_only else "bulk data"
        if not omitted:
            raise UnknownResource(f"there is no {what} here: metadata has all values")
        raise NotAcceptable(
            f'{what} of several values are sent as {MULTIPART}; type="{OCTETS}" or in the types that they are stored '
            "in, and Accept has none of these"
        )
    headers = validator_headers(tag, *found.first) if tag else {}
    if omitted:
        warn(request, dicomweb_url(request, state), f"{omitted} values are not available as Accept says")
    items = _items(request, state, found, ranges, pixels_only=pixels_only)
    return await send_multipart(request, items, media_type, headers=headers, status=206 if omitted else 200)


def _paths(line: SidecarLine, *, pixels_only: bool) -> list[str]:
    return [path for path in bulk_paths(line) if not pixels_only or is_pixel_data(line, path)]


async def _send_only(request: Request, state: AppState, location: Location, line: SidecarLine, path: str) -> Response:
    """Send the only value of an instance, in one part or alone."""
    if by_frame(media_ranges(request), location, line, path) or _in_frames(location, line, path):
        count = (await state.frame_locator.locate(location, line.dataset_offset, line.header)).count
        single = any(not entry.multipart for entry in media_ranges(request)[:1])
        uri = bulk_url(request, state, location, path)
        return await send_frames(request, state, location, [1] if count == 1 and single else [], bulk_uri=uri)
    return await send_bulk(request, state, location, line, path)


def _in_frames(location: Location, line: SidecarLine, path: str) -> bool:
    """Whether pixel data are images whose value as a whole is not little endian."""
    stored = location.transfer_syntax_uid
    if not is_pixel_data(line, path) or is_video(stored):
        return False
    return not is_native(stored) or (stored in TRANSFER_SYNTAXES and not TRANSFER_SYNTAXES[stored].plain_pixels)


@dataclass(slots=True)
class BulkSelection:
    """What is sent of an instance: values as (path, media type), and the pixel data by frame, as (path, format)."""

    values: list[tuple[str, str]] = field(default_factory=list)
    frames: tuple[str, FrameFormat] | None = None
    omitted: int = 0

    @property
    def count(self) -> int:
        """Number of elements that are sent."""
        return len(self.values) + (self.frames is not None)

    @property
    def media_type(self) -> str:
        """The type of the first part; empty without one."""
        return next((kind for _, kind in self.values), self.frames[1].media_type if self.frames else "")


def select(ranges: Sequence[MediaRange], location: Location, line: SidecarLine, *, pixels_only: bool) -> BulkSelection:
    """Choose how the values of an instance are sent."""
    chosen = BulkSelection()
    for path in _paths(line, pixels_only=pixels_only):
        whole = None if _in_frames(location, line, path) else choose_value(ranges, own_media_type(location, line, path))
        if whole is not None:
            chosen.values.append((path, whole[0]))
            continue
        try:
            if not is_pixel_data(line, path):
                raise NotAcceptable(path)
            chosen.frames = path, frame_format(ranges, location.transfer_syntax_uid, single=False)
        except NotAcceptable:
            chosen.omitted += 1
    return chosen


async def _survey(
    state: AppState, found: ResolvedInstances, ranges: Sequence[MediaRange], *, pixels_only: bool
) -> tuple[int, int, str]:
    """Return how many values are sent and omitted, and the type of the first one."""
    count, omitted, media_type = 0, 0, ""
    async for batch in sidecar_batches(found.beginning()):
        for location, line in zip(batch, await read_lines(state.sidecars, batch), strict=True):
            chosen = await read_aside(line.header.json, select, ranges, location, line, pixels_only=pixels_only)
            count, omitted = count + chosen.count, omitted + chosen.omitted
            media_type = media_type or chosen.media_type
    return count, omitted, media_type or OCTETS


async def _items(
    request: Request,
    state: AppState,
    found: ResolvedInstances,
    ranges: Sequence[MediaRange],
    *,
    pixels_only: bool,
) -> ItemStream:
    async for batch in sidecar_batches(found.all()):
        for location, line in zip(batch, await read_lines(state.sidecars, batch), strict=True):
            chosen = await read_aside(line.header.json, select, ranges, location, line, pixels_only=pixels_only)
            for path, media_type in chosen.values:
                value = await find_value(state, location, line, path, media_type)
                content_type = value.content_type(location.transfer_syntax_uid)
                yield ItemStart(content_type, value.length, bulk_url(request, state, location, path))
                async for chunk in value.read(0, value.length):
                    yield chunk
            if chosen.frames is not None:
                path, kind = chosen.frames
                uri = bulk_url(request, state, location, path)
                async for item in _frames(request, state, location, line, kind, uri):
                    yield item


async def _frames(  # noqa: PLR0917 - one instance and how it comes
    request: Request, state: AppState, location: Location, line: SidecarLine, kind: FrameFormat, uri: str
) -> ItemStream:
    """Yield the frames of an instance; none when the first one shows that they cannot be read."""
    begun = False
    try:
        async for item in await frame_items(request, state, location, line, kind, uri):
            begun = True
            yield item
    except (Invalid, StoredDataUnreadable) as error:
        if begun:
            raise
        log.warning("pixel data left out", instance=location.identity.sop_uid, reason=str(error))
