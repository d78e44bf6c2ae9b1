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
from osteon.contracts.imaging import RenderRequested
from osteon.objects.port import Bytes
from osteon_query.dicomweb.frame_formats import FrameFormat, frame_format
from osteon_query.dicomweb.media_types import is_native
from osteon_query.dicomweb.metadata import instance_url, lines_of
from osteon_query.dicomweb.scopes import find_one, scope_of
from osteon_query.dicomweb.sending import Part, counted, send_bytes, send_parts, send_range
from osteon_query.http.accept import OCTETS, media_ranges
from osteon_query.http.context import Door, DoorOf, correlation_id, dicomweb_url
from osteon_query.http.errors import BadParameter, NotRenderable
from osteon_query.http.streaming import streamed
from osteon_query.http.validators import entity_tag, not_modified, validators
from osteon_query.images.asking import Picture, in_order, picture_request
from osteon_query.packs.converted import Wish, convert
from osteon_query.packs.frames import FrameAt, StoredFrames, cut, read_frames, stored_frames, whole_range
from osteon_query.packs.local import LocalInstance, local_instance
from osteon_query.packs.retrieval import Begins, Cutter, read_range

router = APIRouter(prefix="/dicom-web/studies", tags=["WADO-RS"])

_WAY: Final = "frames"
_MOST: Final = 10_000
"""Frames of one request."""
_DIGITS: Final = 9
_BATCH: Final = 8
"""Frames that are decoded by one request to `imaging`."""
_AHEAD: Final = 3
"""Such requests while earlier frames are sent."""


@router.get("/{study}/series/{series}/instances/{instance}/frames/{frames}")
async def retrieve_frames(  # noqa: PLR0917  (the parameters are those of the URL)
    request: Request, door: DoorOf, study: str, series: str, instance: str, frames: str
) -> Response:
    """Send frames, in the order of their numbers in the URL: `1`, or `3,1,2`."""
    location = await find_one(door.index, scope_of(study, series, instance))
    return await send_frames(request, door, location, frame_numbers(frames))


async def send_frames(request: Request, door: Door, location: Location, numbers: list[int]) -> Response:
    """Send frames of an instance; an empty list means all."""
    chosen = frame_format(media_ranges(request), location.transfer_syntax_uid, single=len(numbers) == 1)
    tag = entity_tag(location.sha256, "frames", numbers, chosen)
    tag = f"W/{tag}" if chosen.multipart else tag
    if known := not_modified(request, tag):
        return known
    headers = validators(tag, location)
    (line,) = await lines_of(door.sidecars, [location])
    stored = stored_frames(location, line.dataset_offset, line.header)
    numbers = numbers or list(range(1, stored.count + 1))
    frames = [stored.at(number) for number in numbers]
    sending = _Frames(request, door, location, chosen, numbers)
    if chosen.as_stored(location.transfer_syntax_uid):
        return await sending.stored(frames, headers)
    if is_native(chosen.transfer_syntax_uid):
        return await sending.decoded(headers)
    return await sending.transcoded(headers)


def frame_numbers(text: str) -> list[int]:
    """Read a list of frame numbers; raises `BadParameter`."""
    numbers = text.split(",")
    if not all(n.isascii() and n.isdecimal() and len(n) <= _DIGITS and int(n) for n in numbers):
        raise BadParameter(f"frames in the URL: expected numbers from 1, with commas between, got {text[:80]!r}")
    if len(numbers) > _MOST:
        raise BadParameter(f"{len(numbers)} frames are asked for, at most {_MOST} are sent at once")
    return [int(number) for number in numbers]


class _Frames:
    """Sends frames of one instance in a format."""

    def __init__(
        self, request: Request, door: Door, location: Location, chosen: FrameFormat, numbers: Sequence[int]
    ) -> None:
        self._request = request
        self._door = door
        self._location = location
        self._format = chosen
        self._numbers = numbers
        self._url = f"{instance_url(dicomweb_url(request, door), location)}/frames"

    async def stored(self, frames: list[FrameAt], headers: dict[str, str]) -> Response:
        """Send frames out of the pack."""
        if not self._format.multipart:
            return await self._alone(frames[0], {**headers, "Content-Type": self._format.kind})
        known = [self._part(number, frame.known_length) for number, frame in zip(self._numbers, frames, strict=True)]
        return await self._parts(self._read(frames, known), headers, known)

    async def _alone(self, frame: FrameAt, headers: dict[str, str]) -> Response:
        """Send one frame, or a byte range of it; one of many MiB in several fragments comes without its length."""
        objects = self._door.objects
        where = await whole_range(objects, frame)
        if where is None:
            content = (item async for item in read_frames(objects, [frame], way=_WAY) if not isinstance(item, Begins))
            return await streamed(self._request, content, headers)
        start, length = where

        def source(skip: int, size: int) -> AsyncGenerator[Bytes, None]:
            return counted(read_range(objects, frame.key, start + skip, size), _WAY)

        return await send_range(self._request, source, length, headers)

    async def _read(self, frames: list[FrameAt], parts: list[Part]) -> AsyncGenerator[Part | Bytes, None]:
        waiting = iter(parts)
        async with aclosing(read_frames(self._door.objects, frames, way=_WAY)) as items:
            async for item in items:
                yield next(waiting) if isinstance(item, Begins) else item

    async def decoded(self, headers: dict[str, str]) -> Response:
        """Send frames that `imaging` decodes, some at a time."""
        pictures = in_order(self._door.pictures, self._orders(), ahead=_AHEAD)
        if self._format.multipart:
            return await self._parts(self._decoded_parts(pictures), headers)
        async with aclosing(pictures):
            picture = _made(await anext(pictures))
        headers |= {"Content-Type": self._format.kind, "Content-Length": str(picture.length)}
        return await streamed(self._request, counted(picture.chunks, _WAY), headers)

    async def _orders(self) -> AsyncGenerator[RenderRequested, None]:
        for first in range(0, len(self._numbers), _BATCH):
            yield picture_request(
                self._location,
                correlation_id(self._request),
                frames=self._numbers[first : first + _BATCH],
                how="frames",
                media_type=OCTETS,
            )

    async def _decoded_parts(
        self, pictures: AsyncGenerator[Picture | NotRenderable, None]
    ) -> AsyncGenerator[Part | Bytes, None]:
        numbers = iter(self._numbers)
        async with aclosing(pictures):
            async for each in pictures:
                picture = _made(each)
                cutter = Cutter(counted(picture.chunks, _WAY))
                for length in picture.lengths:
                    yield self._part(next(numbers), length)
                    async for piece in cutter.take(length):
                        yield piece

    async def transcoded(self, headers: dict[str, str]) -> Response:
        """Send frames of the instance in another transfer syntax, which is made as a whole."""
        wish = Wish(self._location, (self._format.transfer_syntax_uid,), as_stored=False)
        file = await convert(self._door.objects, self._door.transcoder, wish, correlation_id(self._request))
        try:
            local = await local_instance(self._door.objects, file)
        finally:
            self._door.transcoder.forget(file.key)
        pixels = (await asyncio.to_thread(local.header)).pixel_data
        assert pixels is not None
        made = StoredFrames("", 0, pixels, None)
        frames = [made.at(number) for number in self._numbers]
        if self._format.multipart:
            return await self._parts(self._cut(local, frames), headers)
        return await send_bytes(
            self._request, cut(local.dataset, frames[0]), {**headers, "Content-Type": self._format.kind}
        )

    async def _cut(self, local: LocalInstance, frames: list[FrameAt]) -> AsyncGenerator[Part | Bytes, None]:
        for number, frame in zip(self._numbers, frames, strict=True):
            data = await asyncio.to_thread(cut, local.dataset, frame)
            metrics.HTTP_BYTES_SENT.labels(_WAY).inc(len(data))
            yield self._part(number, len(data))
            yield data

    def _part(self, number: int, length: int | None) -> Part:
        return Part(self._format.kind, length, f"{self._url}/{number}")

    async def _parts(
        self,
        items: AsyncGenerator[Part | Bytes, None],
        headers: dict[str, str],
        known: list[Part] | None = None,
    ) -> Response:
        return await send_parts(self._request, items, self._format.media_type, headers=headers, known=known)


def _made(picture: Picture | NotRenderable) -> Picture:
    if isinstance(picture, NotRenderable):
        raise picture
    return picture
