"""Instances as they were received, below what was laid over them."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from osteon.archive.conflicts import ConflictingVersions, Version
from osteon.archive.resources import Location

_CHUNK: Final = 200


def as_received(versions: Sequence[Version]) -> Version:
    """Return the version that was received, of those of an instance: the served one, or what it took the place of."""
    return next(each for each in versions if not each.reconciled_by)


async def originals(index: ConflictingVersions, locations: AsyncIterator[Location]) -> AsyncIterator[Location]:
    """Iterate over the same instances as they were received, in the same order."""
    chunk: list[Location] = []
    async for location in locations:
        chunk.append(location)
        if len(chunk) >= _CHUNK:
            for each in await _originals(index, chunk):
                yield each
            chunk = []
    for each in await _originals(index, chunk):
        yield each


async def _originals(index: ConflictingVersions, chunk: list[Location]) -> list[Location]:
    found = await index.versions([at.identity.sop_uid for at in chunk]) if chunk else {}
    return [as_received(found[at.identity.sop_uid]).location if at.identity.sop_uid in found else at for at in chunk]
