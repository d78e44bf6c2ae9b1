"""Sends files by several associations at once (PS3.4 Annex B), and again what an association left unanswered."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from pydicom.uid import UID

from osteon.cli.scu.contexts import MOST_KINDS, FileKind, context_for, data_set, kind_of, proposals
from osteon.cli.scu.files import DicomFile
from osteon.cli.scu.runner import Interrupt, words
from osteon.dimse.errors import RequestorError
from osteon.dimse.requestor import Remote, RequestedAssociation, RequestorConfig, associate
from osteon.dimse.status import Status
from osteon.errors import Invalid, OsteonError

_BATCH: Final = 32
_LONGEST_PAUSE: Final = 5.0


@dataclass(slots=True)
class StoreAttempt:
    """A file, and how many associations have ended before it was answered."""

    found: DicomFile
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of a file: the peer's status, or None when none was sent; `reason` is empty for success."""

    found: DicomFile
    status: Status | None
    reason: str = ""

    @property
    def stored(self) -> bool:
        """The peer has it."""
        return self.status is not None and not self.status.is_failure


Batch = deque[StoreAttempt]


@dataclass(slots=True)
class _Line:
    """What one of the associations is to send now, and the kinds of files that it has contexts for."""

    batch: Batch | None
    kinds: set[FileKind] = field(default_factory=set)


class StoreClient:
    """One transfer.

    Args:
        remote: to whom.
        associations: at the same time at most.
        window: instances in flight on each, if the peer agrees (PS3.7 D.3.3.3).
        retries: how often what was not answered is sent again.
        interrupt: stops it: what has begun is completed.
        on_result: called with each result.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        associations: int,
        window: int,
        retries: int,
        interrupt: Interrupt,
        on_result: Callable[[StoreResult], None],
    ) -> None:
        self._remote, self._window, self._retries = remote, window, retries
        self._interrupt, self._on_result = interrupt, on_result
        self._associations = associations
        self._batches: asyncio.Queue[Batch | None] = asyncio.Queue(2 * associations)
        self._begun = asyncio.Event()
        """The first association is open, or there will be none: the others follow only then."""
        self._open = 0
        self._fruitless = 0
        """Associations in a row, or tries of one, that have brought no answer."""

    async def run(self, files: AsyncIterator[DicomFile]) -> None:
        """Send all. Raises `RequestorError` when there is no association, or no answer on any of several."""
        producer = asyncio.ensure_future(self._produce(files))
        workers = [asyncio.ensure_future(self._work(number)) for number in range(self._associations)]
        try:
            await asyncio.gather(*workers)
            if producer.done():
                producer.result()
        finally:
            for task in (producer, *workers):
                task.cancel()
            await asyncio.gather(producer, *workers, return_exceptions=True)

    async def _produce(self, files: AsyncIterator[DicomFile]) -> None:
        try:
            await self._fill(files)
        except OsteonError:
            await self._no_more()
            raise
        await self._no_more()

    async def _no_more(self) -> None:
        for _ in range(self._associations):
            await self._batches.put(None)

    async def _fill(self, files: AsyncIterator[DicomFile]) -> None:
        batch, kinds = Batch(), set[FileKind]()
        async for found in files:
            if len(batch) >= _BATCH or len(kinds | {kind_of(found)}) > MOST_KINDS:
                await self._batches.put(batch)
                batch, kinds = Batch(), set()
            batch.append(StoreAttempt(found))
            kinds.add(kind_of(found))
        if batch:
            await self._batches.put(batch)

    async def _work(self, number: int) -> None:
        """Be one of the associations: several after another, as files of other kinds come and associations break."""
        if number:
            await self._begun.wait()
        line = _Line(await self._batches.get())
        while line.batch and not self._interrupt.requested.is_set():
            needed = _kinds(line.batch)
            line.kinds = line.kinds | needed if len(line.kinds | needed) <= MOST_KINDS else needed
            first, established = not self._begun.is_set(), False
            try:
                async with associate(self._remote, proposals(line.kinds), self._config(line.batch)) as association:
                    established = True
                    await self._use(association, line)
            except RequestorError as error:
                await self._go_on_after(error, established=established, first=first)
                if line.batch is not None:
                    line.batch = line.batch or await self._batches.get()
        self._begun.set()

    async def _use(self, association: RequestedAssociation, line: "_Line") -> None:
        """Send batches until one comes that needs another association, or there are no more."""
        self._begun.set()
        self._interrupt.orderly = True
        self._open += 1
        try:
            while line.batch and _kinds(line.batch) <= line.kinds:
                await self._send_all(association, line.batch)
                line.batch = await self._batches.get()
        finally:
            self._open -= 1

    def _config(self, batch: Batch) -> RequestorConfig:
        # One at a time once something went wrong: then only the instance that a peer cannot bear suffers.
        return RequestorConfig(async_operations=1 if any(job.attempts for job in batch) else self._window)

    async def _send_all(self, association: RequestedAssociation, batch: Batch) -> None:
        """Send a batch until it is empty; what was not answered is in it when this raises."""
        one_after_another = (self._send_some(association, batch) for _ in range(self._window))
        for ended in await asyncio.gather(*one_after_another, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended

    async def _send_some(self, association: RequestedAssociation, batch: Batch) -> None:
        while batch and not self._interrupt.requested.is_set():
            job = batch.popleft()
            try:
                result = await _send(association, job.found)
            except RequestorError as error:
                self._unanswered(job, batch, error)
                raise
            self._fruitless = 0 if result.status is not None else self._fruitless
            self._on_result(result)
        if self._interrupt.requested.is_set():
            batch.clear()

    def _unanswered(self, job: StoreAttempt, batch: Batch, error: RequestorError) -> None:
        job.attempts += 1
        if job.attempts > self._retries:
            self._on_result(StoreResult(job.found, None, str(error)))
        else:
            batch.append(job)

    async def _go_on_after(self, error: RequestorError, *, established: bool, first: bool) -> None:
        """Wait before another try. Raises `error` when there is no point in it."""
        if not established and self._open:
            # So many associations are too many for the peer: wait for one of the others to end.
            await self._pause(1.0)
            return
        self._fruitless += 1
        if (first and not established) or self._fruitless > 3 * (self._retries + 1) * self._associations:
            raise error
        await self._pause(min(0.1 * 2.0**self._fruitless, _LONGEST_PAUSE))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._interrupt.requested.wait()
        except TimeoutError:
            return


def _kinds(batch: Iterable[StoreAttempt]) -> set[FileKind]:
    return {kind_of(job.found) for job in batch}


async def _send(association: RequestedAssociation, found: DicomFile) -> StoreResult:
    """Send a file. Raises `RequestorError` when the association ends before the answer."""
    context = context_for(association, found)
    if context is None:
        return StoreResult(found, None, f"not accepted: {UID(found.sop_class).name} in {UID(found.syntax).name}")
    data, length = data_set(found, context)
    try:
        outcome = await association.store(context, found.sop_class, found.sop_instance, data, length=length)
    except OSError as error:
        return StoreResult(found, None, error.strerror or str(error))
    except Invalid as error:
        return StoreResult(found, None, str(error))
    done = outcome.status is Status.SUCCESS
    return StoreResult(found, outcome.status, "" if done else words(outcome.status, outcome.comment))
