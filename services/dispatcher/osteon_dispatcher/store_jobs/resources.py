"""Which instances the resources of a job are, in an order in which another worker can go on."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from osteon.archive.ports import InstanceLocator
from osteon.archive.resources import InstanceScope, Location
from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.models import Level
from osteon.sending.planned import from_location

_LOOKUP: Final = 500
"""Resources that are looked up in one query, as far as they are instances."""


@dataclass(frozen=True, slots=True)
class InstancePosition:
    """An instance of a resource: the resource's number, and where the instance's bytes are."""

    resource: int
    key: str
    offset: int


@dataclass(frozen=True, slots=True)
class PositionedInstance:
    """An instance of a job's resources."""

    position: InstancePosition
    location: Location

    @property
    def instance(self) -> PlannedInstance:
        """What sending needs of it."""
        return from_location(self.location)


async def iter_instances(
    index: InstanceLocator, resources: Sequence[str], after: InstancePosition | None = None
) -> AsyncIterator[PositionedInstance]:
    """Iterate over the instances of resources, which are public identifiers, those after `after`.

    Raises `ResourceNotFound` for a resource that is not there (any more).
    """
    first = after.resource if after else 0
    for start in range(first, len(resources), _LOOKUP):
        chunk = resources[start : start + _LOOKUP]
        single = await index.representatives(Level.IMAGE, chunk) if len(chunk) > 1 else {}
        for number, public_id in enumerate(chunk, start):
            rest = after if after is not None and number == after.resource else None
            if public_id in single:
                if rest is None:
                    yield _positioned(number, single[public_id])
                continue
            async for each in _instances_below(index, number, public_id, rest):
                yield each


async def _instances_below(
    index: InstanceLocator, number: int, public_id: str, after: InstancePosition | None
) -> AsyncIterator[PositionedInstance]:
    """Iterate over a resource; from its beginning when the instance at `after` is elsewhere now."""
    found = after is None
    async for location in index.locate(InstanceScope(public_id=public_id)):
        each = _positioned(number, location)
        if found:
            yield each
        found = found or each.position == after
    if not found:
        async for location in index.locate(InstanceScope(public_id=public_id)):
            yield _positioned(number, location)


def _positioned(number: int, location: Location) -> PositionedInstance:
    return PositionedInstance(InstancePosition(number, location.key, location.offset), location)


async def iter_by_uid(index: InstanceLocator, sop_uids: Sequence[str]) -> AsyncIterator[PlannedInstance]:
    """Iterate over instances by their SOP Instance UIDs; those that are gone are left out."""
    if sop_uids:
        async for location in index.locate(InstanceScope(sop_uids=tuple(sop_uids))):
            yield from_location(location)
