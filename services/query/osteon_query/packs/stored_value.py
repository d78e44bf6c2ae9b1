"""The value of one element of a stored instance, as it is in the data set."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from osteon.archive.resources import Location
from osteon.objects.port import Bytes, Objects
from osteon.packs.sidecar import SidecarLine
from osteon_query.packs.mapped_instance import map_instance
from osteon_query.packs.range_reader import read_range

RangeSource = Callable[[int, int], AsyncGenerator[Bytes, None]]


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value of `length` bytes: `source(skip, size)` gives `size` of them after the first `skip`."""

    length: int
    source: RangeSource


async def stored_value(
    objects: Objects, location: Location, line: SidecarLine, path: str, inflated_bytes: int
) -> StoredValue | None:
    """Find the value at the path of a BulkDataURI; None when there is none.

    Most are in the sidecar, small ones and those of deflated data sets in the instance itself, which may have
    `inflated_bytes` at most.
    """
    if path in line.header.bulk:
        offset, length = line.header.bulk[path]
        start = location.offset + line.dataset_offset + offset
        return StoredValue(length, lambda skip, size: read_range(objects, location.key, start + skip, size))
    local = await map_instance(objects, location.key, location.offset, location.length, inflated_bytes)
    found = (await asyncio.to_thread(local.values)).get(path)
    if found is None:
        return None
    offset, length = found
    return StoredValue(length, lambda skip, size: local.read(offset + skip, size))
