"""Transcoding: an instance out of the object store, through a worker, and back into it."""

import time
from typing import Any

from osteon import metrics
from osteon.contracts.imaging import TranscodeReply, TranscodeRequest
from osteon.objects.port import Objects
from osteon_imaging.priority_semaphore import Urgency
from osteon_imaging.source_cache import ObjectRange
from osteon_imaging.task_runner import TaskAttempt, TaskRunner
from osteon_imaging.tasks import Task, TranscodeTask
from osteon_imaging.transcode_cleanup import new_key


class TranscodeService:
    """Answers requests for instances in another transfer syntax."""

    def __init__(self, objects: Objects, runner: TaskRunner) -> None:
        self._objects = objects
        self._runner = runner

    async def transcode(self, message: TranscodeRequest) -> TranscodeReply:
        """Return where the new file is. Raises `TaskFailed`, and `ObjectsUnavailable`: it may be requested again."""
        wanted: dict[str, Any] = {"targets": message.targets, "lossy": message.lossy, "quality": message.quality}
        part = ObjectRange(message.key, message.offset, message.length)

        def task(common: Task) -> TranscodeTask:
            return TranscodeTask(**common.model_dump(), **wanted)

        attempt = TaskAttempt(request=(part, repr(wanted)), part=part, task=task, urgency=Urgency.SOON)
        began = time.perf_counter()
        async with self._runner.run(attempt) as (outcome, result):
            key = new_key()
            await self._objects.put_file(key, result)
        seconds = time.perf_counter() - began
        metrics.TRANSCODE_SECONDS.labels(outcome.source_uid, outcome.transfer_syntax_uid).observe(seconds)
        return TranscodeReply(
            correlation_id=message.correlation_id,
            key=key,
            length=outcome.length,
            transfer_syntax_uid=outcome.transfer_syntax_uid,
            sop_instance_uid=outcome.sop_instance_uid,
        )
