"""C-MOVE as provider (PS3.4 C.4.2): begins the job, stops it, and reports its progress on request.

Usually `ingress` need not poll: the job publishes its progress (`osteon_dispatcher.cmove.progress`).
"""

from contextlib import suppress
from functools import partial
from typing import Final

from osteon.bus.port import Bus
from osteon.contracts.retrieve import MoveProgressReply, MoveProgressRequest, StartMoveReply, StartMoveRequest
from osteon.contracts.topology import MOVE, MOVE_PROGRESS, RETRIEVE_PLAN
from osteon.index.port import Index
from osteon.jobs.error_codes import ErrorCode
from osteon.jobs.port import Job, JobCommand, JobNotFound, JobState, WrongState
from osteon.logging import get_logger
from osteon.remotes.port import Modality, RemoteNotFound
from osteon_dispatcher.cmove.checkpoint import MoveCheckpoint
from osteon_dispatcher.cmove.job import MoveJobParams
from osteon_dispatcher.job_signals import JobSignals
from osteon_dispatcher.plan import parse_retrieve_identifier, plan

_PRIORITY: Final = 10
"""A requester waits for it, as for no job that sends by itself."""
log = get_logger(__name__)


class MoveScp:
    """Answers requests for C-MOVE; `aet` is our own AE title."""

    def __init__(self, index: Index, signals: JobSignals, aet: str) -> None:
        self._index = index
        self._signals = signals
        self._aet = aet

    async def serve(self, bus: Bus) -> None:
        """Answer these requests, and those for plans."""
        await bus.serve(RETRIEVE_PLAN, partial(plan, index=self._index))
        await bus.serve(MOVE, self.begin)
        await bus.serve(MOVE_PROGRESS, self.progress)

    async def begin(self, request: StartMoveRequest) -> StartMoveReply:
        """Submit the job. Raises `RemoteNotFound`, `Invalid`, `DatabaseUnavailable`."""
        modality = await self._destination(request)
        total = await self._index.count(parse_retrieve_identifier(request))
        job_id = await self._submit(request, modality, total) if total else ""
        log.info("C-MOVE accepted", correlation_id=request.correlation_id, job=job_id, destination=modality.name,
                 instances=total)  # fmt: skip
        return StartMoveReply(correlation_id=request.correlation_id, job_id=job_id, total=total)

    async def _destination(self, request: StartMoveRequest) -> Modality:
        """Return the modality with this AE title, else the one with this name."""
        title, remotes = request.destination.strip(" \0"), self._index.remotes
        if found := await remotes.modalities_of(title):
            return found[0]
        try:
            return await remotes.modality(title)
        except RemoteNotFound:
            own = title in (self._aet, request.called_aet)
            what = f"{title} is this archive itself" if own else f"no modality has the AE title or name {title}"
            raise RemoteNotFound(what) from None

    async def _submit(self, request: StartMoveRequest, modality: Modality, total: int) -> str:
        params = MoveJobParams(
            correlation_id=request.correlation_id,
            modality=modality.name,
            sop_class_uid=request.sop_class_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            identifier=request.identifier,
            originator_aet=request.calling_aet,
            originator_id=request.message_id,
            total=total,
            progress_address=request.progress_address,
        )
        content = {
            "Description": "C-MOVE",
            "RemoteAet": modality.aet,
            "LocalAet": modality.local_aet or self._aet,
            "MoveOriginatorAET": request.calling_aet,
            "MoveOriginatorID": request.message_id,
            **MoveCheckpoint(total).content,
        }
        job = await self._index.jobs.submit(MoveJobParams.TYPE, params.params(), content=content, priority=_PRIORITY)
        return job.id

    async def progress(self, request: MoveProgressRequest) -> MoveProgressReply:
        """Return how far a job is, as its row says; stop it first when that is wanted.

        Raises `JobNotFound` when it was deleted.
        """
        jobs = self._index.jobs
        try:
            if request.cancel:
                with suppress(WrongState):  # it is over
                    await jobs.command(request.job_id, JobCommand.CANCEL)
                self._signals.request_stop(request.job_id)
            return _progress(await jobs.get(request.job_id), request.correlation_id)
        except JobNotFound:
            raise JobNotFound("the job was deleted") from None


def _progress(job: Job, correlation_id: str) -> MoveProgressReply:
    checkpoint, cancelled = MoveCheckpoint.from_json(job.params.get("total", 0), job.checkpoint), False
    if job.state is JobState.FAILURE and not checkpoint.done:
        cancelled = job.error_code == ErrorCode.CANCELED_JOB
        if not cancelled:
            checkpoint.done = True
            checkpoint.counts.give_up(job.error)
    return MoveProgressReply(correlation_id=correlation_id, **checkpoint.progress(cancelled=cancelled))
