"""WADO-RS frames (PS3.18 10.4.1.1.6): cut out of the pack, decoded, or out of a transcoded file."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from osteon import metrics
from osteon.archive.resources import Location
from osteon.contracts.imaging import RENDERING, RenderRequest
from osteon.dicom.header.load import read_aside
from osteon.objects.port import Bytes
from osteon.packs.sidecar import SidecarLine
from osteon_query.app_state import AppState, AppStateDep, dicomweb_url
from osteon_query.dicomweb.frame_formats import FrameFormat, frame_format
from osteon_query.dicomweb.multipart import send_multipart
from osteon_query.dicomweb.resolve import resolve_one, scope_of
from osteon_query.http.accept import DICOM, OCTETS, media_ranges
from osteon_query.http.byte_ranges import send_bytes, send_range
from osteon_query.http.conditional import entity_tag, not_modified, validator_headers
from osteon_query.http.errors import BadParameter, NotAcceptable, NotRenderable
from osteon_query.http.media_types import is_native
from osteon_query.http.request_values import correlation_id, warn
from osteon_query.http.streaming import stream_response
from osteon_query.images.render_client import RenderedPicture, picture_request, render_in_order, require_picture
from osteon_query.packs.frames import FrameAt, StoredFrames, cut, photometric_interpretation, read_frames, whole_range
from osteon_query.packs.instance_reader import InstanceRequest, transcode_instance
from osteon_query.packs.items import ItemStart, ItemStream, content_of, count_bytes
from osteon_query.packs.mapped_instance import MappedInstance, map_instance
from osteon_query.packs.metadata import instance_url
from osteon_query.packs.range_reader import ChunkSplitter, read_range
from osteon_query.packs.sidecars import read_lines

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_PURPOSE: Final = "frames"
_MAX_FRAMES: Final = 10_000
"""Frames of one request."""
_DIGITS: Final = 9
_BATCH: Final = 8
"""Frames that are decoded by one request to `imaging`."""
_AHEAD: Final = 3
"""Such requests while earlier frames are sent."""
_LUMINANCE: Final = "YBR_FULL"
"""Colours that clients convert by their name; three whole samples of any other name are RGB to them."""


@router.get("/{study}/series/{series}/instances/{instance}/frames/{frames}")
async def retrieve_frames(  # noqa: PLR0917 - the parameters are those of the URL
    request: Request, state: AppStateDep, study: str, series: str, instance: str, frames: str
) -> Response:
    """Send frames, in the order of their numbers in the URL: `1`, or `3,1,2`."""
    location = await resolve_one(state, scope_of(study, series, instance))
    return await send_frames(request, state, location, frame_numbers(frames))


async def send_frames(
    request: Request, state: AppState, location: Location, numbers: list[int], *, bulk_uri: str = ""
) -> Response:
    """Send frames of an instance; an empty list means all.

    With `bulk_uri` that is the location of the parts, not the URL of the instance (PS3.18 10.4.3.3.5).
    """
    chosen = frame_format(media_ranges(request), location.transfer_syntax_uid, single=len(numbers) == 1)
    tag = entity_tag(location.sha256, "frames", numbers, chosen, RENDERING)
    tag = f"W/{tag}" if chosen.multipart else tag
    if known := not_modified(request, tag):
        return known
    headers = validator_headers(tag, location)
    (line,) = await read_lines(state.sidecars, [location])
    stored = await _locate(state, location, line)
    whole = bool(bulk_uri) and not numbers and stored.count == 1
    numbers = numbers or list(range(1, stored.count + 1))
    frames = await stored.located(numbers)
    warn(request, "osteon", stored.problem)
    sender = _Frames(request, state, location, line, chosen, numbers, bulk_uri=bulk_uri, whole=whole)
    if _as_stored(chosen, location, stored):
        return await sender.stored(frames, headers)
    if is_native(chosen.transfer_syntax_uid):
        return await sender.decoded(headers)
    return await sender.transcoded(headers)


async def frame_items(  # noqa: PLR0917 - one instance and how it comes
    request: Request, state: AppState, location: Location, line: SidecarLine, chosen: FrameFormat, bulk_uri: str
) -> ItemStream:
    """Return all frames of an instance as parts.

    Raises `StoredDataUnreadable` when they cannot be separated, `NotAcceptable` when they have no type.
    """
    stored = await _locate(state, location, line)
    numbers = range(1, stored.count + 1)
    sender = _Frames(request, state, location, line, chosen, numbers, bulk_uri=bulk_uri, whole=stored.count == 1)
    return sender.items(await stored.located(numbers), as_stored=_as_stored(chosen, location, stored))


async def _locate(state: AppState, location: Location, line: SidecarLine) -> StoredFrames:
    """Find the frames; raises `NotAcceptable` when they are in fragments, or not, against the transfer syntax."""
    stored = await state.frame_locator.locate(location, line.dataset_offset, line.header)
    if stored.encapsulated is is_native(location.transfer_syntax_uid):
        kind = "in fragments" if stored.encapsulated else "not in fragments"
        raise NotAcceptable(
            f"pixel data is {kind}, against transfer syntax {location.transfer_syntax_uid}, so frames have no type; "
            f"the instance is sent as stored with {DICOM}; transfer-syntax=*"
        )
    return stored


def _as_stored(chosen: FrameFormat, location: Location, stored: StoredFrames) -> bool:
    return chosen.as_stored(location.transfer_syntax_uid) and stored.as_labelled


def frame_numbers(text: str) -> list[int]:
    """Read a list of frame numbers; raises `BadParameter`."""
    numbers = text.split(",")
    if not all(n.isascii() and n.isdecimal() and len(n) <= _DIGITS and int(n) for n in numbers):
        raise BadParameter(f"frames in the URL: expected numbers from 1, separated by commas, got {text[:80]!r}")
    if len(numbers) > _MAX_FRAMES:
        raise BadParameter(f"{len(numbers)} frames requested, at most {_MAX_FRAMES} are sent in one response")
    return [int(number) for number in numbers]


class _Frames:
    """Sends frames of one instance, whose header is in `line`, in a format."""

    def __init__(  # noqa: PLR0917 - one instance and how it comes
        self,
        request: Request,
        state: AppState,
        location: Location,
        line: SidecarLine,
        chosen: FrameFormat,
        numbers: Sequence[int],
        *,
        bulk_uri: str,
        whole: bool,
    ) -> None:
        self._request = request
        self._state = state
        self._location = location
        self._format = chosen
        self._numbers = numbers
        self._line = line
        self._url = bulk_uri or instance_url(dicomweb_url(request, state), location)
        self._whole = whole

    async def stored(self, frames: list[FrameAt], headers: dict[str, str]) -> Response:
        """Send frames out of the pack."""
        if not self._format.multipart:
            return await self._alone(frames[0], {**headers, "Content-Type": self._format.kind})
        parts = self._parts(frames)
        items = read_frames(self._state.objects, frames, parts)
        return await self._send(items, headers, parts=parts, purpose=_PURPOSE)

    def items(self, frames: list[FrameAt], *, as_stored: bool) -> ItemStream:
        """Yield the frames as parts, whether they come as stored, decoded or transcoded."""
        if as_stored:
            return read_frames(self._state.objects, frames, self._parts(frames))
        if is_native(self._format.transfer_syntax_uid):
            return self._decoded_parts(render_in_order(self._state.pictures, self._render_requests(), prefetch=_AHEAD))
        return self._transcoded_parts()

    def _parts(self, frames: list[FrameAt]) -> list[ItemStart]:
        return [self._part(number, frame.known_length) for number, frame in zip(self._numbers, frames, strict=True)]

    async def _alone(self, frame: FrameAt, headers: dict[str, str]) -> Response:
        """Send one frame, or a byte range of it; one of many MiB in several fragments comes without its length."""
        objects = self._state.objects
        where = await whole_range(objects, frame)
        if where is None:
            content = content_of(read_frames(objects, [frame], [ItemStart()]), _PURPOSE)
            return await stream_response(self._request, content, headers)
        start, length = where

        def source(skip: int, size: int) -> AsyncGenerator[Bytes, None]:
            return count_bytes(read_range(objects, frame.key, start + skip, size), _PURPOSE)

        return await send_range(self._request, source, length, headers)

    async def decoded(self, headers: dict[str, str]) -> Response:
        """Send frames that `imaging` decodes, some at a time."""
        pictures = render_in_order(self._state.pictures, self._render_requests(), prefetch=_AHEAD)
        if self._format.multipart:
            return await self._send(self._decoded_parts(pictures), headers)
        async with aclosing(pictures):
            picture = require_picture(await anext(pictures))
        headers |= {"Content-Type": self._format.kind, "Content-Length": str(picture.length)}
        warn(self._request, "osteon", picture.warning)
        return await stream_response(self._request, count_bytes(picture.chunks, _PURPOSE), headers)

    async def _render_requests(self) -> AsyncGenerator[tuple[RenderRequest, Location], None]:
        for first in range(0, len(self._numbers), _BATCH):
            message = picture_request(
                self._location,
                correlation_id(self._request),
                frames=self._numbers[first : first + _BATCH],
                mode="frames",
                media_type=OCTETS,
            )
            yield message, self._location

    async def _decoded_parts(self, pictures: AsyncGenerator[RenderedPicture | NotRenderable, None]) -> ItemStream:
        numbers = iter(self._numbers)
        async with aclosing(pictures):
            async for each in pictures:
                picture = require_picture(each)
                splitter = ChunkSplitter(count_bytes(picture.chunks, _PURPOSE), "the decoded frames")
                for length in picture.lengths:
                    yield self._part(next(numbers), length)
                    left = length
                    while left:
                        piece = await splitter.take(left)
                        left -= len(piece)
                        yield piece

    async def transcoded(self, headers: dict[str, str]) -> Response:
        """Send frames of the instance in another transfer syntax, which is made as a whole.

        Raises `NotAcceptable` when the frames would not have the colours that metadata says.
        """
        local, frames = await self._transcode()
        if self._format.multipart:
            return await self._send(self._cut_parts(local, frames), headers)
        return await send_bytes(
            self._request, cut(local.dataset, frames[0]), {**headers, "Content-Type": self._format.kind}
        )

    async def _transcoded_parts(self) -> ItemStream:
        local, frames = await self._transcode()
        async for item in self._cut_parts(local, frames):
            yield item

    async def _cut_parts(self, local: MappedInstance, frames: list[FrameAt]) -> ItemStream:
        for number, frame in zip(self._numbers, frames, strict=True):
            data = await asyncio.to_thread(cut, local.dataset, frame)
            metrics.HTTP_BYTES_SENT.labels(_PURPOSE).inc(len(data))
            yield self._part(number, len(data))
            yield data

    async def _transcode(self) -> tuple[MappedInstance, list[FrameAt]]:
        request = InstanceRequest(self._location, (self._format.transfer_syntax_uid,), as_stored=False)
        file = await transcode_instance(
            self._state.objects, self._state.transcoder, request, correlation_id(self._request)
        )
        try:
            limit = self._state.limits.inflated_bytes
            local = await map_instance(self._state.objects, file.key, file.offset, file.length, limit)
        finally:
            self._state.transcoder.forget(file.key)
        header, known = await asyncio.to_thread(local.header), self._line.header
        pixels = header.pixel_data
        made, label = [await read_aside(each.json, photometric_interpretation, each) for each in (header, known)]
        assert pixels is not None
        if (made == _LUMINANCE) is not (label == _LUMINANCE):
            raise NotAcceptable(
                f"frames in transfer syntax {file.transfer_syntax_uid} would be {made}, "
                f"and metadata says {label}; they are sent as stored with transfer-syntax=*, and as {OCTETS}"
            )
        stored = StoredFrames("", 0, pixels, None)
        return local, await stored.located(self._numbers)

    def _part(self, number: int, length: int | None) -> ItemStart:
        return ItemStart(self._format.kind, length, self._url if self._whole else f"{self._url}/frames/{number}")

    async def _send(
        self, items: ItemStream, headers: dict[str, str], *, parts: list[ItemStart] | None = None, purpose: str = ""
    ) -> Response:
        return await send_multipart(
            self._request, items, self._format.media_type, headers=headers, parts=parts, purpose=purpose
        )
