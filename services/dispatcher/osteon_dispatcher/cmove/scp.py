"""C-MOVE as provider (PS3.4 C.4.2): begins the job, and tells whoever watches how far it is."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from osteon.bus.port import Bus
from osteon.contracts.retrieve import MoveProgress, MoveRequested, MoveStarted, MoveWatched
from osteon.contracts.topology import MOVE, PLAN, WATCH
from osteon.dimse.status import Status
from osteon.errors import OsteonError
from osteon.index.port import Index
from osteon.jobs.error_codes import ErrorCode
from osteon.jobs.port import Job, JobCommand, JobNotFound, JobState, WrongState
from osteon.logging import get_logger
from osteon.remotes.port import Modality, RemoteNotFound
from osteon_dispatcher.cmove.checkpoint import MoveCheckpoint
from osteon_dispatcher.cmove.job import MoveJobParams
from osteon_dispatcher.job_signals import JobSignals
from osteon_dispatcher.plan import parse_retrieve_identifier, plan, status_of

_PRIORITY: Final = 10
"""Somebody waits for it, as for no job that sends by itself."""
_WAIT: Final = 0.5
"""Seconds that an answer waits for news."""
_LOOK: Final = 0.1
"""Seconds between looks at a job that runs in another process."""
_AT_ONCE: Final = 64
"""Requests that are answered at the same time: they wait most of it."""
log = get_logger(__name__)


class MoveScp:
    """Answers requests for C-MOVE; `aet` is our own AE title."""

    def __init__(self, index: Index, bells: JobSignals, aet: str) -> None:
        self._index = index
        self._bells = bells
        self._aet = aet

    async def serve(self, bus: Bus) -> None:
        """Answer these requests, and those for plans."""
        await bus.serve(PLAN, partial(plan, index=self._index))
        await bus.serve(MOVE, self.begin)
        await bus.serve(WATCH, self.watch, concurrency=_AT_ONCE)

    async def begin(self, request: MoveRequested) -> MoveStarted:
        """Submit the job, or tell why not."""
        try:
            modality = await self._destination(request)
            total = await self._index.count(parse_retrieve_identifier(request))
            job_id = await self._submit(request, modality, total) if total else ""
        except RemoteNotFound as error:
            return _refused(request, Status.MOVE_DESTINATION_UNKNOWN, error)
        except OsteonError as error:
            return _refused(request, status_of(error), error)
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
        order = MoveJobParams(
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
            **MoveCheckpoint(total).content,
        }
        job = await self._index.jobs.submit(MoveJobParams.TYPE, order.params(), content=content, priority=_PRIORITY)
        return job.id

    async def watch(self, request: MoveWatched) -> MoveProgress:
        """Return how far a job is: when something has changed since `seen`, when it is over, or soon."""
        try:
            if request.cancel:
                with suppress(WrongState):  # it is over
                    await self._index.jobs.wish(request.job_id, JobCommand.CANCEL)
                self._bells.stop(request.job_id)
            return await self._news(request)
        except JobNotFound:
            return MoveProgress(
                correlation_id=request.correlation_id,
                done=True,
                status=Status.UNABLE_TO_PERFORM_SUB_OPERATIONS,
                error_comment="the job was deleted",
            )

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
    moved = MoveCheckpoint.of(job.params.get("total", 0), job.checkpoint)
    tally, done, cancelled = moved.tally, moved.done, False
    if job.state is JobState.FAILURE and not done:
        done, cancelled = True, job.error_code == ErrorCode.CANCELED_JOB
        if not cancelled:
            tally.give_up(job.error)
    final = tally.final(cancelled=cancelled)
    return MoveProgress(
        correlation_id=correlation_id,
        remaining=tally.remaining,
        completed=tally.completed,
        failed=tally.failed,
        warning=tally.warning,
        done=done,
        status=final.status if done else Status.PENDING,
        failed_uids=list(final.failed_uids) if done else [],
        error_comment=tally.comment if done else "",
    )


def _refused(request: MoveRequested, status: Status, error: OsteonError) -> MoveStarted:
    log.warning("move refused", correlation_id=request.correlation_id, destination=request.destination,
                status=f"0x{status:04X}", error=str(error))  # fmt: skip
    return MoveStarted(correlation_id=request.correlation_id, status=status, error_comment=str(error))
