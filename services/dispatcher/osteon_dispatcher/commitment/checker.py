"""Whether instances are stored so that they can be called committed: their row, their object, their bytes."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Final, Literal

from osteon.archive.ports import StoredInstances
from osteon.archive.resources import InstanceScope, Location
from osteon.commitment.port import CommitmentFailure, CommitmentItem, FailureReason
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.packs.integrity import Defect, instance_defect, pack_defect, read_digests

Depth = Literal["row", "object", "sha256"]
_BATCH: Final = 500

log = get_logger(__name__)


class CommitmentChecker:
    """Looks at instances as closely as `depth` says.

    `row`: the index knows the instance under its SOP class. `object`: also, its pack is in the object store and has
    the length that it was stored with. `sha256`: also, its data set is read back and has its
    SHA-256. `pulse` is awaited from time to time.
    """

    def __init__(
        self, index: StoredInstances, objects: Objects, depth: Depth, pulse: Callable[[], Awaitable[None]]
    ) -> None:
        self._index = index
        self._objects = objects
        self._depth = depth
        self._pulse = pulse

    async def failures(self, items: Sequence[CommitmentItem]) -> list[CommitmentFailure]:
        """Return what is not committed, in the order of `items`; raises `Unavailable` when a part is down."""
        failures: list[CommitmentFailure] = []
        rest = iter(items)
        while batch := list(islice(rest, _BATCH)):
            failures += await self._batch(batch)
            await self._pulse()
        return failures

    async def _batch(self, items: Sequence[CommitmentItem]) -> list[CommitmentFailure]:
        scope = InstanceScope(sop_uids=tuple({item.sop_instance_uid for item in items}))
        found = {each.identity.sop_uid: each async for each in self._index.locate(scope)}
        flawed = await self._flawed(list(found.values())) if self._depth != "row" else set()
        reasons = ((item, _reason(item, found.get(item.sop_instance_uid), flawed)) for item in items)
        return [CommitmentFailure(item, reason) for item, reason in reasons if reason is not None]

    async def _flawed(self, found: Sequence[Location]) -> set[str]:
        """Return the UIDs of instances whose bytes are not as the index says."""
        packs: dict[str, list[Location]] = defaultdict(list)
        for each in found:
            packs[PurePosixPath(each.key).stem].append(each)
        flawed: set[str] = set()
        for pack_id, members in packs.items():
            for member, flaw in (await self._pack(pack_id, members)).items():
                log.error("not committed", instance=member, flaw=flaw.kind.value, key=flaw.key, detail=flaw.detail)
                flawed.add(member)
        return flawed

    async def _pack(self, pack_id: str, members: Sequence[Location]) -> dict[str, Defect]:
        async for row in self._index.pack_rows(only=pack_id):
            flaw = await pack_defect(row, {}, self._objects)
            if flaw:
                return {member.identity.sop_uid: flaw for member in members}
        return await self._read_back(members) if self._depth == "sha256" else {}

    async def _read_back(self, members: Sequence[Location]) -> dict[str, Defect]:
        try:
            lines = await read_digests(members[0].sidecar, self._objects)
        except (NotFound, Invalid) as error:
            log.error("sidecar cannot be used", key=members[0].sidecar.key, error=str(error))
            lines = {}
        flaws = {
            each.identity.sop_uid: await instance_defect(each, lines, self._objects, self._read) for each in members
        }
        return {uid: flaw for uid, flaw in flaws.items() if flaw}

    async def _read(self, _: int) -> None:
        await self._pulse()


def _reason(item: CommitmentItem, found: Location | None, flawed: set[str]) -> FailureReason | None:
    if found is None:
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    if found.identity.sop_class_uid != item.sop_class_uid:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    return FailureReason.PROCESSING_FAILURE if item.sop_instance_uid in flawed else None
