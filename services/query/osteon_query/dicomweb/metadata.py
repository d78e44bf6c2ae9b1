"""Headers as metadata: bytes out of the sidecars, with the URLs of their bulk data made absolute (PS3.18 10.4.1.1.2).

Nothing is parsed: a sidecar writes each reference as `"BulkDataURI":"bulk/…"`, and no JSON text can hold these bytes,
as its quotes would be escaped.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import orjson

from osteon.errors import NotFound
from osteon.index.port import Location
from osteon.spool.sidecar import SidecarLine
from osteon_query.http.errors import Unreadable
from osteon_query.packs.sidecars import Sidecars

_MARK: Final = b'"BulkDataURI":"bulk/'
_BATCH: Final = 256


async def lines_of(sidecars: Sidecars, locations: Sequence[Location]) -> list[SidecarLine]:
    """Return the sidecar lines of instances; one that the store has lost is `Unreadable`, not unknown."""
    try:
        return await sidecars.lines_of(locations)
    except NotFound as error:
        raise Unreadable(f"the index names a sidecar that can not be read: {error}") from None


async def metadata(
    sidecars: Sidecars, locations: AsyncIterator[Location], dicomweb: str
) -> AsyncGenerator[bytes, None]:
    """Yield a JSON array of the headers of instances; `dicomweb` is the base URL for their bulk data."""
    opening = b"["
    async for batch in batches(locations):
        for location, line in zip(batch, await lines_of(sidecars, batch), strict=True):
            yield opening + with_bulk_urls(line.header.json, instance_url(dicomweb, location))
            opening = b",\n"
    yield b"]" if opening != b"[" else b"[]"


def instance_url(dicomweb: str, location: Location) -> str:
    """Return the URL of an instance."""
    identity = location.identity
    return f"{dicomweb}/studies/{identity.study_uid}/series/{identity.series_uid}/instances/{identity.sop_uid}"


def with_bulk_urls(header: bytes, instance: str) -> bytes:
    """Put an instance's URL before the paths of its bulk data."""
    return header.replace(_MARK, b'"BulkDataURI":' + orjson.dumps(instance)[:-1] + b"/bulk/")


async def batches(locations: AsyncIterator[Location]) -> AsyncGenerator[list[Location], None]:
    """Gather neighbours: each batch is of one sidecar."""
    batch: list[Location] = []
    async for location in locations:
        # A sidecar is read once a batch, so a batch never mixes two without need.
        if batch and (len(batch) >= _BATCH or location.sidecar_key != batch[-1].sidecar_key):
            yield batch
            batch = []
        batch.append(location)
    if batch:
        yield batch
