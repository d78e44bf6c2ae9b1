"""Comparing two streams in the order of pack ids: objects from the listing, rows from the index.

The listing is read first, the rows after it. What does not fit is looked at once more by itself before it is told, and
new objects are left alone, so that packs on their way raise no alarm.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Final

from osteon.archive.pack_records import PackRows
from osteon.contracts.conflicts import PREFIX
from osteon.errors import Invalid
from osteon.index.port import Index
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs.index_entries import read_stored_pack
from osteon.packs.integrity import object_size, pack_defect
from osteon_indexer.order import SortedRows
from osteon_indexer.sweep import sweep
from osteon_indexer.verify.deep import Pace, read_back
from osteon_indexer.verify.listing import Listing, StoredObjects
from osteon_indexer.verify.problems import Kind, Problem, Tally

log = get_logger(__name__)
_AT_ONCE: Final = 4
"""Packs that are looked at at the same time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at, and how closely. `rate` in bytes a second, 0: as fast as possible."""

    deep: bool = False
    study_uid: str | None = None
    after: str = ""
    rate: int = 0
    repair: bool = False
    settled: timedelta = timedelta(minutes=10)


class Verifier:
    """One run of `osteon verify`: counts in `tally`, and `tell` gets each problem as it is found."""

    def __init__(
        self, objects: Objects, index: Index, wanted: Wanted, tally: Tally, tell: Callable[[Problem], None]
    ) -> None:
        self._objects = objects
        self._index = index
        self._wanted = wanted
        self._tell = tell
        self._pace = Pace(wanted.rate)
        self._tally = tally

    async def run(self) -> None:
        """Look at everything once; raises `Unavailable` when a part is down."""
        wanted = self._wanted
        if wanted.repair:
            self._tally.indexed = await sweep(objects=self._objects, index=self._index, settled=wanted.settled)
        with SortedRows() as rows:
            listing = Listing(rows, wanted.settled, self._look_at_strangers)
            await listing.read(self._objects, f"{wanted.study_uid}/" if wanted.study_uid else "", wanted.after)
            self._tally.of_packs = listing.packs
            self._tally.of_bytes = listing.bytes if wanted.deep else 0
            packs = self._index.packs(after=wanted.after, study_uid=wanted.study_uid)
            await self._in_order(merged(aiter(listing), packs))

    def _found(self, problem: Problem) -> None:
        self._tally.count(problem)
        self._tell(problem)

    async def _in_order(self, pairs: AsyncIterator[tuple[StoredObjects | None, PackRows | None]]) -> None:
        """Look at several packs at once, finishing them in their order, so that a later run can go on."""
        running: deque[tuple[str, asyncio.Task[None]]] = deque()

        async def finish() -> None:
            pack_id, task = running[0]
            await task
            running.popleft()
            self._tally.packs += 1
            self._tally.last = pack_id

        try:
            async for stored, row in pairs:
                if len(running) >= _AT_ONCE:
                    await finish()
                either = row or stored
                assert either is not None
                running.append((either.pack_id, asyncio.create_task(self._look_at(stored, row))))
            while running:
                await finish()
        finally:
            for _, task in running:
                task.cancel()
            await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    async def _look_at(self, stored: StoredObjects | None, row: PackRows | None) -> None:
        if row is None:
            assert stored is not None
            await self._look_at_objects(stored)
        elif row.instances or row.aside:
            await self._look_at_pack(row, stored.sizes if stored else {})
        if row is not None and row.instances < row.stored and await self._still(row):
            detail = f"{row.instances} of {row.stored} instances of the pack have rows"
            self._found(Problem(Kind.ROWS_MISSING, row.key, detail))

    async def _still(self, row: PackRows) -> bool:
        """Whether a row still says the same: another version may be served by now."""
        return [row] == [now async for now in self._index.packs(only=row.pack_id)]

    async def _look_at_pack(self, row: PackRows, sizes: dict[str, int]) -> None:
        flaw = await pack_defect(row, sizes, self._objects)
        problem = Problem.of(flaw) if flaw else None
        if problem and self._wanted.repair:
            problem = replace(problem, repaired=await self._heal(row))
        if problem:
            if problem.repaired or await self._still(row):
                self._found(problem)
            return
        if self._wanted.deep:
            found = read_back(row, objects=self._objects, index=self._index, pace=self._pace, tally=self._tally)
            async for each in found:
                self._found(each)

    async def _look_at_objects(self, stored: StoredObjects) -> None:
        """Look at objects without rows: not at new ones, which are on their way, nor at such as are gone by now."""
        if not stored.settled or await self._index.known_packs([stored.pack_id]):
            return
        kinds = {
            PurePosixPath(key).suffix: key for key in stored.sizes if await object_size(key, self._objects) is not None
        }
        if kinds.keys() == {".tar", ".meta"}:
            self._found(Problem(Kind.NOT_INDEXED, kinds[".tar"], "the index does not know it"))
        elif ".tar" in kinds:
            self._found(Problem(Kind.PACK_WITHOUT_SIDECAR, kinds[".tar"], "it has no sidecar and no rows"))
        elif ".meta" in kinds:
            self._found(Problem(Kind.SIDECAR_WITHOUT_PACK, kinds[".meta"], "it has no pack and no rows"))

    async def _look_at_strangers(self, keys: list[str]) -> None:
        """Look at objects of no pack: decisions must be known."""
        decisions = {key: PurePosixPath(key).stem for key in keys if key.startswith(PREFIX) and key.endswith(".json")}
        known = await self._index.known_decisions(list(decisions.values()))
        for key in keys:
            if key not in decisions:
                self._found(Problem(Kind.UNKNOWN_OBJECT, key, "neither a pack, nor a sidecar, nor a decision"))
            elif decisions[key] not in known:
                self._found(Problem(Kind.DECISION_UNKNOWN, key, "the index does not know it"))

    async def _heal(self, row: PackRows) -> bool:
        """Point the rows of a pack at others that have the same bytes; returns whether none is left."""
        for key, sidecar_key in await self._index.copies(row.pack_id):
            try:
                pack = await asyncio.to_thread(read_stored_pack, await self._objects.get(sidecar_key))
            except (ObjectNotFound, Invalid) as error:
                log.warning("copy not used", key=key, error=str(error))
                continue
            if await object_size(key, self._objects) == pack.facts.size:
                await self._index.heal(pack, [row.pack_id])
        return not [member async for member in self._index.members(row.pack_id)]


async def merged(
    stored: AsyncIterator[StoredObjects], rows: AsyncIterator[PackRows]
) -> AsyncIterator[tuple[StoredObjects | None, PackRows | None]]:
    """Pair what belongs to the same pack, out of two streams in the order of pack ids."""
    left, right = await anext(stored, None), await anext(rows, None)
    while left or right:
        if right is None or (left and left.pack_id < right.pack_id):
            yield left, None
            left = await anext(stored, None)
        elif left is None or right.pack_id < left.pack_id:
            yield None, right
            right = await anext(rows, None)
        else:
            yield left, right
            left, right = await anext(stored, None), await anext(rows, None)
