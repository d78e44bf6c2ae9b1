"""Which instances the resources of a job are, in an order in which another worker can go on."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.models import Level
from osteon.index.port import Index, Location, Scope

_AT_ONCE: Final = 500
"""Resources that are looked up in one query, as far as they are instances."""


@dataclass(frozen=True, slots=True)
class Position:
    """An instance of a resource: the resource's number, and where the instance's bytes are."""

    resource: int
    key: str
    offset: int


@dataclass(frozen=True, slots=True)
class Placed:
    """An instance to be sent."""

    position: Position
    instance: PlannedInstance


async def placed(index: Index, resources: Sequence[str], after: Position | None = None) -> AsyncIterator[Placed]:
    """Iterate over the instances of resources, which are public identifiers, behind the one at `after`.

    Raises `ResourceNotFound` for a resource that is not there (any more).
    """
    first = after.resource if after else 0
    for start in range(first, len(resources), _AT_ONCE):
        chunk = resources[start : start + _AT_ONCE]
        single = await index.representatives(Level.IMAGE, chunk) if len(chunk) > 1 else {}
        for number, public_id in enumerate(chunk, start):
            rest = after if after is not None and number == after.resource else None
            if public_id in single:
                if rest is None:
                    yield _placed(number, single[public_id])
                continue
            async for each in _below(index, number, public_id, rest):
                yield each


async def _below(index: Index, number: int, public_id: str, after: Position | None) -> AsyncIterator[Placed]:
    """Iterate over a resource; from its beginning when the instance at `after` is elsewhere now."""
    found = after is None
    async for location in index.locate(Scope(public_id=public_id)):
        each = _placed(number, location)
        if found:
            yield each
        found = found or each.position == after
    if not found:
        async for location in index.locate(Scope(public_id=public_id)):
            yield _placed(number, location)


def _placed(number: int, location: Location) -> Placed:
    return Placed(Position(number, location.key, location.offset), planned(location))


async def of_uids(index: Index, sop_uids: Sequence[str]) -> AsyncIterator[PlannedInstance]:
    """Iterate over instances by their SOP Instance UIDs; those that are gone are left out."""
    if sop_uids:
        async for location in index.locate(Scope(sop_uids=tuple(sop_uids))):
            yield planned(location)


def planned(location: Location) -> PlannedInstance:
    """Return an instance as those who send it know it."""
    return PlannedInstance(
        sop_class_uid=location.identity.sop_class_uid,
        sop_instance_uid=location.identity.sop_uid,
        transfer_syntax_uid=location.transfer_syntax_uid,
        key=location.key,
        offset=location.offset,
        length=location.length,
        sha256=location.sha256,
    )
