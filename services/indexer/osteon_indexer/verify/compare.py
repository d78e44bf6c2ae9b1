"""Comparing two streams in the order of pack ids: objects from the listing, rows from the index.

The listing is read first, the rows after it. A difference is checked once more by itself before it is reported, and new
objects are skipped, so that packs on their way raise no alarm.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Final, Protocol

from osteon.archive.pack_records import PackRows
from osteon.archive.ports import PackRegister
from osteon.contracts.conflicts import PREFIX
from osteon.contracts.reconciliation import PREFIX as RECONCILIATIONS
from osteon.contracts.user_data import PREFIX as USER_DATA
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import ObjectNotFound, Objects
from osteon.packs.index_entries import find_stored_pack
from osteon.packs.integrity import object_size, pack_defect
from osteon.packs.sidecar_member import find_sidecar
from osteon_indexer.external_sort import ExternalSorter
from osteon_indexer.handlers import PackIndex
from osteon_indexer.sweep import sweep
from osteon_indexer.verify.deep import RateLimiter, read_back
from osteon_indexer.verify.listing import Listing, StoredObjects
from osteon_indexer.verify.problems import ProblemKind, VerifyProblem, VerifyProgress

log = get_logger(__name__)
_AT_ONCE: Final = 4
"""Packs that are checked at the same time."""


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What to verify, and how closely. `rate` in bytes a second, 0: as fast as possible."""

    deep: bool = False
    study_uid: str | None = None
    after: str = ""
    rate: int = 0
    repair: bool = False
    min_age: timedelta = timedelta(minutes=10)


class VerifiedIndex(PackIndex, PackRegister, Protocol):
    """The index as verification needs it: its packs and their rows, compared and repaired."""


class Verifier:
    """One run of `osteon verify`: counts in `progress`, and `on_problem` gets each problem as it is found."""

    def __init__(
        self,
        objects: Objects,
        index: VerifiedIndex,
        options: VerifyOptions,
        progress: VerifyProgress,
        on_problem: Callable[[VerifyProblem], None],
    ) -> None:
        self._objects = objects
        self._index = index
        self._options = options
        self._on_problem = on_problem
        self._limiter = RateLimiter(options.rate)
        self._progress = progress

    async def run(self) -> None:
        """Verify everything once; raises `Unavailable` when a part is down."""
        options = self._options
        if options.repair:
            self._progress.indexed = await sweep(objects=self._objects, index=self._index, min_age=options.min_age)
        with ExternalSorter() as rows:
            listing = Listing(rows, options.min_age, self._check_unknown_objects)
            await listing.read(self._objects, f"{options.study_uid}/" if options.study_uid else "", options.after)
            self._progress.of_packs = listing.packs
            self._progress.of_bytes = listing.bytes if options.deep else 0
            packs = self._index.pack_rows(after=options.after, study_uid=options.study_uid)
            await self._check_in_order(merged(aiter(listing), packs))

    def _report(self, kind: ProblemKind, key: str, detail: str) -> None:
        self._report_problem(VerifyProblem(kind, key, detail))

    def _report_problem(self, problem: VerifyProblem) -> None:
        self._progress.count(problem)
        self._on_problem(problem)

    async def _check_in_order(self, pairs: AsyncIterator[tuple[StoredObjects | None, PackRows | None]]) -> None:
        """Check several packs at once, finishing them in their order, so that a later run can continue."""
        running: deque[tuple[str, asyncio.Task[None]]] = deque()

        async def finish() -> None:
            pack_id, task = running[0]
            await task
            running.popleft()
            self._progress.packs += 1
            self._progress.last = pack_id

        try:
            async for stored, row in pairs:
                if len(running) >= _AT_ONCE:
                    await finish()
                either = row or stored
                assert either is not None
                running.append((either.pack_id, asyncio.create_task(self._check(stored, row))))
            while running:
                await finish()
        finally:
            for _, task in running:
                task.cancel()
            await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    async def _check(self, stored: StoredObjects | None, row: PackRows | None) -> None:
        if row is None:
            assert stored is not None
            await self._check_objects(stored)
        elif row.instances or row.aside:
            await self._check_pack(row, stored.sizes if stored else {})
        if row is not None and row.instances < row.stored and await self._is_current(row):
            detail = f"{row.instances} of {row.stored} instances of the pack have rows"
            self._report(ProblemKind.ROWS_MISSING, row.key, detail)

    async def _is_current(self, row: PackRows) -> bool:
        """Whether the rows are still the same: another version may be served by now."""
        return [row] == [now async for now in self._index.pack_rows(only=row.pack_id)]

    async def _check_pack(self, row: PackRows, sizes: dict[str, int]) -> None:
        defect = await pack_defect(row, sizes, self._objects)
        problem = VerifyProblem.from_defect(defect) if defect else None
        if problem and self._options.repair:
            problem = replace(problem, repaired=await self._repoint(row))
        if problem:
            if problem.repaired or await self._is_current(row):
                self._report_problem(problem)
            return
        if self._options.deep:
            found = read_back(
                row, objects=self._objects, index=self._index, limiter=self._limiter, progress=self._progress
            )
            async for each in found:
                self._report_problem(each)

    async def _check_objects(self, stored: StoredObjects) -> None:
        """Check objects without rows, except new ones, which are on their way, and those deleted meanwhile."""
        if not stored.old_enough or await self._index.known_packs([stored.pack_id]):
            return
        found = {key: await object_size(key, self._objects) for key in stored.sizes}
        sizes = {PurePosixPath(key).suffix: (key, size) for key, size in found.items() if size is not None}
        if ".tar" in sizes:
            key, size = sizes[".tar"]
            try:
                await find_sidecar(key, size, self._objects)
            except (NotFound, Invalid):
                self._report(ProblemKind.PACK_WITHOUT_SIDECAR, key, "it has no sidecar and no rows")
            else:
                self._report(ProblemKind.NOT_INDEXED, key, "the index does not know it")
        elif ".meta" in sizes:
            self._report(ProblemKind.SIDECAR_WITHOUT_PACK, sizes[".meta"][0], "it has no pack and no rows")

    async def _check_unknown_objects(self, keys: list[str]) -> None:
        """Check objects of no pack: decisions, reconciliations and user data must be known."""
        user_data = {key for key in keys if key.startswith(USER_DATA)}
        for key in sorted(user_data - await self._index.user_data.known_objects(list(user_data))):
            self._report(ProblemKind.USER_DATA_UNKNOWN, key, "the index does not know it")
        records = {key: PurePosixPath(key).stem for key in keys if key.startswith(RECONCILIATIONS)}
        applied = await self._index.reconciliations.known(list(records.values()))
        for key in (key for key, record in records.items() if record not in applied):
            self._report(ProblemKind.RECONCILIATION_UNKNOWN, key, "the index does not know it")
        keys = [key for key in keys if key not in user_data and key not in records]
        decisions = {key: PurePosixPath(key).stem for key in keys if key.startswith(PREFIX) and key.endswith(".json")}
        known = await self._index.known_decisions(list(decisions.values()))
        for key in keys:
            if key not in decisions:
                self._report(ProblemKind.UNKNOWN_OBJECT, key, "neither a pack, nor a sidecar, nor a decision")
            elif decisions[key] not in known:
                self._report(ProblemKind.DECISION_UNKNOWN, key, "the index does not know it")

    async def _repoint(self, row: PackRows) -> bool:
        """Point the rows of a pack at others that have the same bytes; returns whether none is left."""
        for key in await self._index.duplicate_packs(row.pack_id):
            try:
                pack = await find_stored_pack(key, await self._objects.size(key), self._objects)
            except (ObjectNotFound, Invalid) as error:
                log.warning("other copy cannot be used", key=key, error=str(error))
                continue
            await self._index.repoint(pack, [row.pack_id])
        return not [member async for member in self._index.pack_members(row.pack_id)]


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
