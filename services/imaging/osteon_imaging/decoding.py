"""Decoding: a picture out of the object store, through a worker, and its samples back into it."""

from osteon.contracts.imaging import DecodeReply, DecodeRequest
from osteon.objects.port import Objects
from osteon_imaging.priority_semaphore import Urgency
from osteon_imaging.source_cache import ObjectRange
from osteon_imaging.task_runner import TaskAttempt, TaskRunner
from osteon_imaging.tasks import DecodeTask, Task
from osteon_imaging.transcode_cleanup import new_key


class DecodeService:
    """Answers requests for the samples of pictures, which instances are made of."""

    def __init__(self, objects: Objects, runner: TaskRunner) -> None:
        self._objects = objects
        self._runner = runner

    async def decode(self, message: DecodeRequest) -> DecodeReply:
        """Return where the samples are. Raises `TaskFailed`, and `ObjectsUnavailable`: it may be requested again."""
        part = ObjectRange(message.key, 0, message.length)

        def task(common: Task) -> DecodeTask:
            return DecodeTask(**common.model_dump())

        attempt = TaskAttempt(request=(part, "decode"), part=part, task=task, urgency=Urgency.SOON)
        async with self._runner.run(attempt) as (outcome, result):
            key = new_key()
            await self._objects.put_file(key, result)
        rows, columns, samples, bits = outcome.layout
        return DecodeReply(
            correlation_id=message.correlation_id, key=key, length=outcome.length,
            rows=rows, columns=columns, samples=samples, bits=bits,
        )  # fmt: skip
