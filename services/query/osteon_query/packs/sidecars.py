"""Headers of instances out of their packs' sidecars, cached within a bound of memory.

A sidecar is fetched and decoded once for all requests that need it at the same time. One that is too large to be kept
is read through instead, a line at a time, for each call that needs it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from osteon.archive.resources import Location
from osteon.byte_caches import ByteCache
from osteon.contracts.packs import SidecarPlace
from osteon.dicom.header.load import load_header
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.packs.sidecar import SidecarLine, decode
from osteon_query.http.errors import StoredDataUnreadable

log = get_logger(__name__)

_LINE_COST: Final = 1_500
"""Bytes of memory that a line takes besides its header, and each frame or bulk value besides its line."""
_SPAN_COST: Final = 200
_BATCH_BYTES: Final = 1 << 20
_BATCH_LOCATIONS: Final = 256
_LOADS_AT_ONCE: Final = 4
_TOO_LARGE: Final = 512 << 10
"""Bytes of memory for the keys of sidecars that are too large for the cache."""


class HeaderNotFound(NotFound):
    """The sidecar has no line of this instance."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A whole sidecar: lines by their offset in the pack. `cost` in bytes of memory."""

    lines: Mapping[int, SidecarLine]
    cost: int


class Sidecars:
    """Reads lines of sidecars; every method raises `ObjectsUnavailable`, `ObjectNotFound` and `BadSidecar`."""

    def __init__(self, objects: Objects, *, memory: int) -> None:
        """Cache at most about `memory` bytes of decoded sidecars; one alone may take a quarter of it."""
        self._objects = objects
        self._largest = memory // 4
        self._cache: ByteCache[SidecarPlace, _Decoded] = ByteCache(
            "sidecars", memory, lambda place, decoded: len(place.key) + decoded.cost
        )
        self._too_large: ByteCache[SidecarPlace, bool] = ByteCache(
            "large_sidecars", _TOO_LARGE, lambda place, _: len(place.key)
        )
        self._loading: dict[SidecarPlace, asyncio.Task[_Decoded | None]] = {}
        self._loads = asyncio.Semaphore(_LOADS_AT_ONCE)

    @property
    def cost(self) -> int:
        """Bytes of memory that the cache takes, about."""
        return self._cache.size

    async def line(self, location: Location) -> SidecarLine:
        """Return the line of one instance; raises `HeaderNotFound`."""
        return (await self.lines_of([location]))[0]

    async def raw(self, location: Location) -> bytes:
        """Return the header of one instance as DICOM JSON; raises `HeaderNotFound`."""
        return (await self.line(location)).header.json

    async def header(self, location: Location) -> Mapping[str, Any]:
        """Return the parsed header of one instance; raises `HeaderNotFound`."""
        return parse_header(await self.raw(location))

    async def lines_of(self, locations: Sequence[Location]) -> list[SidecarLine]:
        """Return the lines of some instances in their order, reading each sidecar once; raises `HeaderNotFound`."""
        found = {place: await self._lines_at(place, offsets) for place, offsets in _by_sidecar(locations).items()}
        try:
            return [found[location.sidecar][location.offset] for location in locations]
        except KeyError as error:
            raise HeaderNotFound(f"no line for the instance at byte {error} of its pack in the sidecar") from None

    async def lines_if_readable(self, locations: Sequence[Location]) -> list[SidecarLine | None]:
        """Do as `lines_of`; where a sidecar is missing or broken, log it and return None, so that others are served."""
        found: dict[tuple[SidecarPlace, int], SidecarLine] = {}
        for place, offsets in _by_sidecar(locations).items():
            try:
                lines = await self._lines_at(place, offsets)
            except (NotFound, Invalid) as error:
                log.warning("sidecar unreadable", key=place.key, error=str(error))
                continue
            found.update({(place, offset): lines[offset] for offset in offsets if offset in lines})
        return [found.get((location.sidecar, location.offset)) for location in locations]

    async def lines(self, place: SidecarPlace) -> AsyncIterator[SidecarLine]:
        """Iterate over all lines of a sidecar in the order of the pack."""
        decoded = await self._decoded(place)
        if decoded is not None:
            for line in decoded.lines.values():
                yield line
            return
        lines = await self._open(place)
        while batch := await asyncio.to_thread(_next_batch, lines):
            for line in batch:
                yield line

    async def _lines_at(self, place: SidecarPlace, offsets: set[int]) -> Mapping[int, SidecarLine]:
        decoded = await self._decoded(place)
        if decoded is not None:
            return decoded.lines
        return await asyncio.to_thread(_find_lines, await self._open(place), offsets)

    async def _open(self, place: SidecarPlace) -> Iterator[SidecarLine]:
        data = await self._objects.get(*place)
        _, lines = await asyncio.to_thread(decode, data)
        return lines

    async def _decoded(self, place: SidecarPlace) -> _Decoded | None:
        """Return the whole sidecar, or None when it is too large for the cache."""
        if (cached := self._cache.get(place)) is not None:
            return cached
        if place in self._too_large:
            return None
        task = self._loading.get(place)
        if task is None:
            task = self._loading[place] = asyncio.create_task(self._load(place))
            task.add_done_callback(lambda done: self._on_loaded(place, done))
        # A caller that is cancelled must not take the others' load with it.
        return await asyncio.shield(task)

    async def _load(self, place: SidecarPlace) -> _Decoded | None:
        async with self._loads:
            data = await self._objects.get(*place)
            decoded = await asyncio.to_thread(_decode_within, data, self._largest)
        if decoded is None:
            self._too_large[place] = True
        else:
            self._cache[place] = decoded
        return decoded

    def _on_loaded(self, place: SidecarPlace, task: "asyncio.Task[_Decoded | None]") -> None:
        del self._loading[place]
        if not task.cancelled():
            # Each waiter got the error; without any, this marks it as seen.
            task.exception()


async def read_lines(sidecars: Sidecars, locations: Sequence[Location]) -> list[SidecarLine]:
    """Return the sidecar lines of instances; one that the store has lost is `StoredDataUnreadable`, not unknown."""
    try:
        return await sidecars.lines_of(locations)
    except NotFound as error:
        raise StoredDataUnreadable(f"the index names a sidecar that cannot be read: {error}") from None


async def sidecar_batches(locations: AsyncIterator[Location]) -> AsyncGenerator[list[Location], None]:
    """Gather neighbours: each batch is of one sidecar."""
    batch: list[Location] = []
    async for location in locations:
        # A sidecar is read once a batch, so a batch never mixes two without need.
        if batch and (len(batch) >= _BATCH_LOCATIONS or location.sidecar != batch[-1].sidecar):
            yield batch
            batch = []
        batch.append(location)
    if batch:
        yield batch


def parse_header(raw: bytes) -> Mapping[str, Any]:
    """Parse a header as `Sidecars.raw` gives it: tag → DICOM JSON element."""
    return load_header(raw)


def _by_sidecar(locations: Sequence[Location]) -> dict[SidecarPlace, set[int]]:
    wanted: dict[SidecarPlace, set[int]] = {}
    for location in locations:
        wanted.setdefault(location.sidecar, set()).add(location.offset)
    return wanted


def _cost(line: SidecarLine) -> int:
    header = line.header
    spans = len(header.bulk) + len(header.problems) + (len(header.pixel_data.frames) if header.pixel_data else 0)
    return len(header.json) + _LINE_COST + spans * _SPAN_COST


def _decode_within(data: bytes, limit: int) -> _Decoded | None:
    _, lines = decode(data)
    kept: dict[int, SidecarLine] = {}
    cost = 0
    for line in lines:
        cost += _cost(line)
        if cost > limit:
            return None
        kept[line.offset] = line
    return _Decoded(kept, cost)


def _find_lines(lines: Iterator[SidecarLine], offsets: set[int]) -> Mapping[int, SidecarLine]:
    found: dict[int, SidecarLine] = {}
    for line in lines:
        if line.offset in offsets:
            found[line.offset] = line
            if len(found) == len(offsets):
                break
    return found


def _next_batch(lines: Iterator[SidecarLine]) -> list[SidecarLine]:
    batch: list[SidecarLine] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += _cost(line)
        if size >= _BATCH_BYTES:
            break
    return batch
