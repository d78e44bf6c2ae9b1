"""Runs a task for a request of any kind: fetches the source, lets a worker do it, and remembers what failed."""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osteon import metrics
from osteon.errors import FailureKind, Invalid, NotFound, OsteonError
from osteon.logging import get_logger
from osteon.settings import ImagingSettings
from osteon_imaging.poison import PoisonCache
from osteon_imaging.priority_semaphore import Urgency
from osteon_imaging.source_cache import ObjectRange, SourceCache
from osteon_imaging.tasks import FATAL, PART, Task, TaskFailure, TaskOutcome
from osteon_imaging.worker_pool import WorkerPool

log = get_logger(__name__)

_KINDS: Final = {
    TaskFailure.BAD_OPTIONS: FailureKind.INVALID,
    TaskFailure.NOT_POSSIBLE: FailureKind.UNSUPPORTED,
    TaskFailure.NO_FRAME: FailureKind.NOT_FOUND,
    TaskFailure.DAMAGED: FailureKind.UNSUPPORTED,
    TaskFailure.MEMORY: FailureKind.UNSUPPORTED,
    TaskFailure.TIME: FailureKind.TIMEOUT,
    TaskFailure.CRASH: FailureKind.UNSUPPORTED,
    TaskFailure.KILLED: FailureKind.FAILED,
}

_EXPECTED: Final = (TaskFailure.NOT_POSSIBLE, TaskFailure.NO_FRAME)


class TaskFailed(OsteonError):
    """There is no result; the message says why."""

    def __init__(self, failure: TaskFailure, reason: str) -> None:
        super().__init__(reason)
        self.kind = _KINDS[failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAttempt:
    """One attempt at a request.

    Attributes:
        request: what is remembered when it ends a worker; equal for the same work.
        part: the instance.
        task: makes the task out of what it has in common with others.
        urgency, seconds: its priority, and its time limit.
    """

    request: Hashable
    part: ObjectRange
    task: Callable[[Task], Task]
    urgency: Urgency
    seconds: float = math.inf


class TaskRunner:
    """Runs attempts; `folder` is for the files of results."""

    def __init__(
        self, settings: ImagingSettings, *, sources: SourceCache, workers: WorkerPool, poison: PoisonCache, folder: Path
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._workers = workers
        self._poison = poison
        self._folder = folder

    @asynccontextmanager
    async def run(self, attempt: TaskAttempt) -> AsyncIterator[tuple[TaskOutcome, Path]]:
        """Give the outcome and the file of its result, for the block. Raises `TaskFailed`, `ObjectsUnavailable`.

        A request that ended a worker is not tried again for a while.
        """
        result = self._folder / uuid.uuid4().hex
        try:
            outcome = await self._outcome(attempt, result)
            if outcome.failure:
                raise TaskFailed(outcome.failure, outcome.error)
            yield outcome, result
        finally:
            # In the background; what is left at the end goes with the folder.
            asyncio.get_running_loop().run_in_executor(None, _remove, result)

    async def _outcome(self, attempt: TaskAttempt, result: Path) -> TaskOutcome:
        if known := self._poison.outcome(attempt.request, attempt.part):
            metrics.IMAGING_FAILURES.labels("remembered").inc()
            return known.model_copy(update={"error": f"{known.error}; not tried again for a while"})
        settings = self._settings
        try:
            async with self._sources.open(attempt.part) as source:
                common = Task(
                    source=source.where,
                    name=" ".join(map(str, attempt.part)),
                    offset=source.offset,
                    length=source.length,
                    destination=str(result),
                    memory=settings.imaging_memory_bytes,
                    frame_bytes=settings.imaging_frame_bytes,
                    frame_seconds=settings.imaging_frame_seconds,
                )
                seconds = min(attempt.seconds, settings.imaging_seconds)
                outcome = await self._workers.run(attempt.task(common), attempt.urgency, seconds=seconds)
        except (Invalid, NotFound) as error:
            outcome = TaskOutcome(failure=TaskFailure.DAMAGED, error=str(error))
        if outcome.failure:
            metrics.IMAGING_FAILURES.labels(str(outcome.failure)).inc()
            level = log.info if outcome.failure in _EXPECTED else log.warning
            level("imaging task failed", key=attempt.part.where, offset=attempt.part.offset, reason=outcome.error)
        elif outcome.warning:
            log.warning("damaged pixels", key=attempt.part.where, offset=attempt.part.offset, reason=outcome.warning)
        if outcome.failure in FATAL:
            self._poison.add(attempt.request, attempt.part, outcome)
        return outcome


def _remove(result: Path) -> None:
    result.unlink(missing_ok=True)
    Path(f"{result}{PART}").unlink(missing_ok=True)
