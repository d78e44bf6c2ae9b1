"""What requests of every kind have in common: the source as a file, a worker, a result, and what went wrong before."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from pathlib import Path

from osteon import metrics
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.settings import ImagingSettings
from osteon_imaging.poison import Poison
from osteon_imaging.sources import Part, Sources
from osteon_imaging.tasks import FATAL, PART, Failure, Outcome, Task
from osteon_imaging.turns import Urgency
from osteon_imaging.workers import Workers

log = get_logger(__name__)


class Attempts:
    """Makes one attempt at a request; `folder` is for the files of results."""

    def __init__(
        self, settings: ImagingSettings, *, sources: Sources, workers: Workers, poison: Poison, folder: Path
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._workers = workers
        self._poison = poison
        self._folder = folder

    @asynccontextmanager
    async def made(
        self, request: Hashable, part: Part, task: Callable[[Task], Task], urgency: Urgency
    ) -> AsyncIterator[tuple[Outcome, Path]]:
        """Give the outcome of a request and the file of its result, for the block.

        `task` makes the task out of what it has in common with others. A request that ended a worker is remembered by
        `request`, and not tried again for a while. Raises `ObjectsUnavailable`.
        """
        result = self._folder / uuid.uuid4().hex
        try:
            yield await self._outcome(request, part, task, urgency, result), result
        finally:
            await asyncio.to_thread(_remove, result)

    async def _outcome(
        self, request: Hashable, part: Part, task: Callable[[Task], Task], urgency: Urgency, result: Path
    ) -> Outcome:
        if known := self._poison.outcome(request):
            metrics.IMAGING_FAILURES.labels("remembered").inc()
            return known.model_copy(update={"error": f"{known.error}; not tried again for a while"})
        try:
            async with self._sources.opened(part) as source:
                outcome = await self._workers.run(task(self._task(source, result)), urgency)
        except (Invalid, NotFound) as error:
            outcome = Outcome(failure=Failure.DAMAGED, error=str(error))
        if outcome.failure:
            metrics.IMAGING_FAILURES.labels(str(outcome.failure)).inc()
            level = log.info if outcome.failure is Failure.NOT_POSSIBLE else log.warning
            level("not done", key=part.where, offset=part.offset, reason=outcome.error)
        if outcome.failure in FATAL:
            self._poison.add(request, outcome)
        return outcome

    def _task(self, source: Part, result: Path) -> Task:
        settings = self._settings
        return Task(
            source=source.where,
            offset=source.offset,
            length=source.length,
            destination=str(result),
            memory=settings.imaging_memory,
            frame_bytes=settings.imaging_frame_bytes,
            frame_seconds=settings.imaging_frame_seconds,
        )


def _remove(result: Path) -> None:
    result.unlink(missing_ok=True)
    Path(f"{result}{PART}").unlink(missing_ok=True)
