"""Transcoding: an instance out of the object store, through a worker, and back into it."""

import asyncio
import tempfile
import time
from pathlib import Path

from osteon import metrics
from osteon.contracts.imaging import Transcoded, TranscodeRequested
from osteon.errors import Invalid, NotFound
from osteon.logging import get_logger
from osteon.objects.port import Objects
from osteon.settings import ImagingSettings
from osteon_imaging.cache import new_key
from osteon_imaging.poison import Poison
from osteon_imaging.tasks import FATAL, Failure, Outcome, Task
from osteon_imaging.workers import Workers

log = get_logger(__name__)


class Imaging:
    """Answers requests."""

    def __init__(self, settings: ImagingSettings, *, objects: Objects, workers: Workers, poison: Poison) -> None:
        self._settings = settings
        self._objects = objects
        self._workers = workers
        self._poison = poison

    async def transcode(self, message: TranscodeRequested) -> Transcoded:
        """Return where the new file is, or why there is none.

        Raises `ObjectsUnavailable`: then there is no answer, and the request may be made again.
        """
        request = (message.key, message.offset, tuple(message.targets), tuple(message.lossy), message.quality)
        if reason := self._poison.reason(request):
            metrics.IMAGING_FAILURES.labels("remembered").inc()
            return Transcoded(correlation_id=message.correlation_id, error=f"{reason}; not tried again for a while")
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="osteon-imaging-", ignore_cleanup_errors=True) as folder:
            result = Path(folder) / "result"
            try:
                outcome = await self._outcome(message, Path(folder) / "source", result)
            except (Invalid, NotFound) as error:
                outcome = Outcome(failure=Failure.DAMAGED, error=str(error))
            if outcome.failure:
                return self._failed(message, request, outcome)
            key = new_key()
            await self._objects.put_file(key, result)
        seconds = time.perf_counter() - began
        metrics.TRANSCODE_SECONDS.labels(outcome.source_uid, outcome.transfer_syntax_uid).observe(seconds)
        return Transcoded(
            correlation_id=message.correlation_id,
            key=key,
            length=outcome.length,
            transfer_syntax_uid=outcome.transfer_syntax_uid,
            sop_instance_uid=outcome.sop_instance_uid,
        )

    async def _outcome(self, message: TranscodeRequested, source: Path, result: Path) -> Outcome:
        await self._fetch(message, source)
        settings = self._settings
        return await self._workers.run(
            Task(
                source=str(source),
                destination=str(result),
                targets=message.targets,
                lossy=message.lossy,
                quality=message.quality,
                memory=settings.imaging_memory,
                frame_bytes=settings.imaging_frame_bytes,
                frame_seconds=settings.imaging_frame_seconds,
            )
        )

    async def _fetch(self, message: TranscodeRequested, path: Path) -> None:
        with path.open("wb") as file:
            async for chunk in self._objects.stream(message.key, message.offset, message.length):
                await asyncio.to_thread(file.write, chunk)

    def _failed(self, message: TranscodeRequested, request: tuple[object, ...], outcome: Outcome) -> Transcoded:
        assert outcome.failure
        metrics.IMAGING_FAILURES.labels(str(outcome.failure)).inc()
        log.warning("not transcoded", key=message.key, offset=message.offset, reason=outcome.error)
        if outcome.failure in FATAL:
            self._poison.add(request, outcome.error)
        return Transcoded(correlation_id=message.correlation_id, error=outcome.error)
