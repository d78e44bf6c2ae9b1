"""`DicomMoveScp`: the job of a C-MOVE that was requested (PS3.4 C.4.2.2); each instance is sent at least once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

from pydantic import ConfigDict, Field

from osteon.archive.ports import ResourceSearch
from osteon.archive.resources import Location
from osteon.bus.port import Bus
from osteon.contracts.retrieve import MoveProgressed, PlannedInstance, RetrieveRequestBase
from osteon.dimse.errors import AssociationRejected
from osteon.errors import DatabaseUnavailable, Invalid, OsteonError, Unavailable
from osteon.jobs.port import JobCommand
from osteon.jobs.run import JobRun, JobStopped
from osteon.logging import get_logger
from osteon.remotes.job_params import JobParams
from osteon.sending.planned import from_location
from osteon.sending.suboperations import SubOperationResult
from osteon_dispatcher.checkpoints import with_checkpoints
from osteon_dispatcher.cmove.checkpoint import MoveCheckpoint
from osteon_dispatcher.cmove.progress import ProgressPublisher
from osteon_dispatcher.job_signals import JobSignals
from osteon_dispatcher.plan import PAGE, parse_retrieve_identifier
from osteon_dispatcher.store_jobs.modality import ModalityStoreContext

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a destination that has vanished is tried again; the last one repeats."""
_LAST_SAVE: Final = 3.0
log = get_logger(__name__)


class MoveJobParams(JobParams):
    """Parameters of the job."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    TYPE: ClassVar[str] = "DicomMoveScp"

    correlation_id: str
    modality: str = Field(description="Name of the destination.")
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes
    originator_aet: str
    originator_id: int
    total: int
    progress_address: str = Field(default="", description="Where `MoveProgressed` goes; empty: nowhere.")


class MoveIncomplete(Invalid):
    """Some instances could not be moved."""


async def move(run: JobRun, *, stores: ModalityStoreContext, bus: Bus, signals: JobSignals, patience: float) -> None:
    """Send what is left; a destination that vanishes is tried again for `patience` seconds.

    Raises `MoveIncomplete` when instances failed, `JobStopped` when it was cancelled, `DatabaseUnavailable`.
    """
    publisher = ProgressPublisher(bus)
    moving = _MoveRun(run, stores, publisher, signals.register(run.job.id), patience)
    try:
        await moving.run()
    except asyncio.CancelledError:
        # The runner stops it: what was sent until now is to be reported, and not to be sent again.
        with suppress(OsteonError, TimeoutError):
            async with asyncio.timeout(_LAST_SAVE):
                await moving.save()
        raise
    finally:
        signals.unregister(run.job.id)
        await publisher.close()


class _MoveRun:
    """One run of the job."""

    def __init__(
        self,
        run: JobRun,
        stores: ModalityStoreContext,
        publisher: ProgressPublisher,
        stop: asyncio.Event,
        patience: float,
    ) -> None:
        self._run, self._stores, self._publisher, self._stop, self._patience = run, stores, publisher, stop, patience
        self._params = MoveJobParams.model_validate(run.job.params)
        self._checkpoint = MoveCheckpoint.from_json(self._params.total, run.job.checkpoint)
        if self._checkpoint.done:  # resubmitted: all again
            self._checkpoint = MoveCheckpoint(self._params.total)
        self._on_the_way: deque[tuple[str | None, tuple[str, int]]] = deque()
        self._last_answer = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Send until all is sent, or the destination was away for too long."""
        counts, pauses = self._checkpoint.counts, deque(_PAUSES)
        while True:
            done = counts.done
            try:
                await self._send()
                break
            except DatabaseUnavailable:
                raise
            except Unavailable as error:
                if counts.done != done:
                    pauses = deque(_PAUSES)
                hopeless = isinstance(error, AssociationRejected) and error.permanent
                if hopeless or asyncio.get_running_loop().time() - self._last_answer + pauses[0] > self._patience:
                    await self._give_up(str(error))
                    break
                log.warning("C-MOVE interrupted", job=self._run.job.id, error=str(error))
                await self.save()
                await self._pause(pauses.popleft() if len(pauses) > 1 else pauses[0])
        counts.remaining = 0
        self._checkpoint.done = True
        await self.save()
        if counts.failed:
            raise MoveIncomplete(f"{counts.failed} of {self._params.total} instances not moved: {counts.comment}")

    async def save(self) -> None:
        """Keep the checkpoint, then report it: counts that were reported never go back."""
        checkpoint = self._checkpoint
        progress = min(100, 100 * checkpoint.counts.done // (checkpoint.total or 1))
        content = {**self._run.job.content, **checkpoint.content}
        try:
            await self._run.save(progress=progress, content=content, checkpoint=checkpoint.to_json())
        except JobStopped as stopped:
            self._report(cancelled=stopped.command is JobCommand.CANCEL)
            raise
        self._report()

    def _report(self, *, cancelled: bool = False) -> None:
        if self._params.progress_address:
            fields = self._checkpoint.progress(cancelled=cancelled)
            self._publisher.report(
                MoveProgressed(
                    correlation_id=self._params.correlation_id, address=self._params.progress_address, **fields
                )
            )

    async def _send(self) -> None:
        modality = await self._stores.index.remotes.modality(self._params.modality)
        self._on_the_way.clear()
        deliver = partial(
            self._stores.sender.deliver,
            self._stores.connect(modality),
            move_originator=(self._params.originator_aet, self._params.originator_id),
            transcode=modality.allow_transcoding,
            purpose="c-move",
        )
        async with aclosing(with_checkpoints(deliver(self._instances()), self.save)) as results:
            async for result in results:
                self._count(result)
                if self._stop.is_set():
                    await self.save()

    def _count(self, result: SubOperationResult) -> None:
        self._checkpoint.page, self._checkpoint.last_sent = self._on_the_way.popleft()
        self._checkpoint.counts.add(result)
        if not result.broken:
            self._last_answer = asyncio.get_running_loop().time()
        if result.reason:
            log.warning("instance not moved", correlation_id=self._params.correlation_id, job=self._run.job.id,
                        instance=result.instance.sop_instance_uid, reason=result.reason)  # fmt: skip

    async def _instances(self) -> AsyncIterator[PlannedInstance]:
        """Yield what is left, from the checkpoint on."""
        after = self._checkpoint.last_sent
        async for page, locations in _pages(self._params, self._stores.index, self._checkpoint.page):
            for location in _after(locations, after):
                self._on_the_way.append((page, (location.key, location.offset)))
                yield from_location(location)
            after = None

    async def _give_up(self, reason: str) -> None:
        """Count what is left as failed, and name it."""
        async for instance in self._instances():
            self._checkpoint.counts.add(SubOperationResult(instance, None, reason))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
                await self.save()


async def _pages(
    params: MoveJobParams, index: ResourceSearch, cursor: str | None
) -> AsyncIterator[tuple[str | None, Sequence[Location]]]:
    """Yield the pages of the plan from a cursor on, each with its own cursor."""
    request = RetrieveRequestBase(
        correlation_id=params.correlation_id,
        sop_class_uid=params.sop_class_uid,
        transfer_syntax_uid=params.transfer_syntax_uid,
        identifier=params.identifier,
        calling_aet=params.originator_aet,
        called_aet="",
    )
    search = replace(parse_retrieve_identifier(request), limit=PAGE)
    while True:
        page = await index.search_locations(replace(search, cursor=cursor))
        yield cursor, page.locations
        if page.cursor is None:
            return
        cursor = page.cursor


def _after(locations: Sequence[Location], last: tuple[str, int] | None) -> Sequence[Location]:
    """Return what comes after the one that was sent last; all, when that one is not there any more."""
    places = [(location.key, location.offset) for location in locations]
    return locations[places.index(last) + 1 :] if last in places else locations
