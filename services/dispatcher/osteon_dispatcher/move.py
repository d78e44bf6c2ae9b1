"""C-MOVE as provider (PS3.4 C.4.2): begins the job, and tells whoever watches how far it is."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from osteon.bus.port import Bus
from osteon.contracts.retrieve import MoveProgress, MoveRequested, MoveStarted, MoveWatched
from osteon.contracts.topology import MOVE, PLAN, WATCH
from osteon.index.port import Index
from osteon.jobs.codes import ErrorCode
from osteon.jobs.port import Job, JobNotFound, JobState, Wish, WrongState
from osteon.logging import get_logger
from osteon.remotes.port import Modality, RemoteNotFound
from osteon_dispatcher.bells import Bells
from osteon_dispatcher.moved import Moved
from osteon_dispatcher.moving import MoveOrder
from osteon_dispatcher.plan import plan, understand

_PRIORITY: Final = 10
"""Somebody waits for it, as for no job that sends by itself."""
_WAIT: Final = 0.5
"""Seconds that an answer waits for news."""
_LOOK: Final = 0.1
"""Seconds between looks at a job that runs in another process."""
_AT_ONCE: Final = 64
"""Requests that are answered at the same time: they wait most of it."""
log = get_logger(__name__)


class Moves:
    """Answers requests for C-MOVE; `aet` is our own AE title."""

    def __init__(self, index: Index, bells: Bells, aet: str) -> None:
        self._index = index
        self._bells = bells
        self._aet = aet

    async def serve(self, bus: Bus) -> None:
        """Answer these requests, and those for plans."""
        await bus.serve(PLAN, partial(plan, index=self._index))
        await bus.serve(MOVE, self.begin)
        await bus.serve(WATCH, self.watch, concurrency=_AT_ONCE)

    async def begin(self, request: MoveRequested) -> MoveStarted:
        """Submit the job. Raises `RemoteNotFound`, `Invalid`, `IndexUnavailable`."""
        modality = await self._destination(request)
        total = await self._index.count(understand(request))
        job_id = await self._submit(request, modality, total) if total else ""
        log.info("move", correlation_id=request.correlation_id, job=job_id, destination=modality.name, instances=total)
        return MoveStarted(correlation_id=request.correlation_id, job_id=job_id, total=total)

    async def _destination(self, request: MoveRequested) -> Modality:
        title = request.destination.strip(" \0")
        found = await self._index.remotes.modalities_of(title)
        if not found:
            own = title in (self._aet, request.called_aet)
            raise RemoteNotFound(f"{title} is this archive itself" if own else f"no modality has the AE title {title}")
        return found[0]

    async def _submit(self, request: MoveRequested, modality: Modality, total: int) -> str:
        order = MoveOrder(
            correlation_id=request.correlation_id,
            modality=modality.name,
            sop_class_uid=request.sop_class_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            identifier=request.identifier,
            originator_aet=request.calling_aet,
            originator_id=request.message_id,
            total=total,
        )
        content = {
            "Description": "C-MOVE",
            "RemoteAet": modality.aet,
            "LocalAet": modality.local_aet or self._aet,
            "MoveOriginatorAET": request.calling_aet,
            "MoveOriginatorID": request.message_id,
            **Moved(total).content,
        }
        job = await self._index.jobs.submit(MoveOrder.TYPE, order.params(), content=content, priority=_PRIORITY)
        return job.id

    async def watch(self, request: MoveWatched) -> MoveProgress:
        """Return how far a job is: when something has changed since `seen`, when it is over, or soon.

        Raises `JobNotFound` when it was deleted.
        """
        try:
            if request.cancel:
                with suppress(WrongState):  # it is over
                    await self._index.jobs.wish(request.job_id, Wish.CANCEL)
                self._bells.stop(request.job_id)
            return await self._news(request)
        except JobNotFound:
            raise JobNotFound("the job was deleted") from None

    async def _news(self, request: MoveWatched) -> MoveProgress:
        loop = asyncio.get_running_loop()
        until = loop.time() + _WAIT
        while True:
            progress = _progress(await self._index.jobs.get(request.job_id), request.correlation_id)
            changed = progress.completed + progress.failed + progress.warning != request.seen
            if progress.done or changed or loop.time() >= until:
                return progress
            await self._bells.heard(request.job_id, _LOOK)


def _progress(job: Job, correlation_id: str) -> MoveProgress:
    moved = Moved.of(job.params.get("total", 0), job.checkpoint)
    tally, done, cancelled = moved.tally, moved.done, False
    if job.state is JobState.FAILURE and not done:
        done, cancelled = True, job.error_code == ErrorCode.CANCELED_JOB
        if not cancelled:
            tally.give_up(job.error)
    return MoveProgress(
        correlation_id=correlation_id,
        remaining=tally.remaining,
        completed=tally.completed,
        failed=tally.failed,
        warning=tally.warning,
        done=done,
        cancelled=cancelled,
        failed_uids=tally.failed_uids if done else [],
        error_comment=tally.comment if done else "",
    )
