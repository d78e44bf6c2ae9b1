"""Sends all instances of a job's resources, each at least once, over as many runs as it takes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from osteon.archive.ports import InstanceLocator
from osteon.contracts.retrieve import PlannedInstance
from osteon.errors import Invalid, OsteonError, Unavailable
from osteon.jobs.run import JobRun
from osteon.sending.suboperations import SubOperationResult
from osteon_dispatcher.checkpoints import with_checkpoints
from osteon_dispatcher.store_jobs.checkpoint import FAILED_INSTANCES, MAX_FAILURES, MAX_RETRY, SendCheckpoint
from osteon_dispatcher.store_jobs.resources import InstancePosition, iter_by_uid, iter_instances

Deliver = Callable[[AsyncIterator[PlannedInstance]], AsyncGenerator[SubOperationResult]]
"""Sends instances, yields what became of each, in order; raises `Unavailable` when the receiver cannot be reached."""
_RETRY_PAUSE: Final = 1.0
"""Seconds before instances that were refused for the moment are sent again in the same run."""


class SendFailed(Invalid):
    """Some instances were refused for good; the message says how many, and why the first one."""


class SendIncomplete(Unavailable):
    """Some instances were refused for the moment."""


class SendRun:
    """One run of a job that sends."""

    def __init__(self, run: JobRun, index: InstanceLocator, resources: Sequence[str], deliver: Deliver) -> None:
        self.checkpoint = SendCheckpoint.from_json(run.job.checkpoint)
        self._run = run
        self._index = index
        self._resources = resources
        self._deliver = deliver
        self._content = dict(run.job.content)
        self._answered = False

    async def send(self, *, permissive: bool) -> None:
        """Send what has to be sent. On return all were, but for those in `checkpoint.failures` if `permissive`.

        Raises `SendFailed` when some failed for good, `SendIncomplete` or another `Unavailable` when the rest is to be
        sent later: the checkpoint says which.
        """
        checkpoint = self.checkpoint
        checkpoint.resume()
        try:
            if checkpoint.total is None:
                await self._count()
            if len(checkpoint.retry) > MAX_RETRY:
                await self._send_again()
            await self._send_rest()
            if checkpoint.retry:
                await asyncio.sleep(_RETRY_PAUSE)
                await self._send_again()
        except OsteonError:
            await self.save()
            raise
        await self.save()
        if checkpoint.retry:
            raise SendIncomplete(checkpoint.problem)
        if checkpoint.failures and not permissive:
            raise await self._failure(checkpoint.problem)

    async def save(self, **content: Any) -> None:
        """Keep the checkpoint, and show how far the job is."""
        checkpoint = self.checkpoint
        self._content.pop(FAILED_INSTANCES, None)
        self._content |= checkpoint.content | content
        await self._run.save(progress=checkpoint.percent, content=self._content, checkpoint=checkpoint.to_json())

    async def _failure(self, problem: str) -> SendFailed:
        """Record that the job has failed: when it is resubmitted, what failed is tried again."""
        self.checkpoint.failed = True
        await self.save()
        return SendFailed(problem)

    async def _count(self) -> None:
        total = size = 0
        async for each in iter_instances(self._index, self._resources):
            total += 1
            size += each.instance.length
        self.checkpoint.total, self.checkpoint.size = total, size
        await self.save()

    async def _send_again(self) -> None:
        uids = list(self.checkpoint.retry)
        seen = set()
        async with aclosing(self._results(iter_by_uid(self._index, uids))) as results:
            async for result in results:
                seen.add(result.instance.sop_instance_uid)
                await self._record(result)
        for uid in set(uids) - seen:
            self.checkpoint.retry.pop(uid, None)  # it is not in the archive any more
            self.checkpoint.breaks.pop(uid, None)

    async def _send_rest(self) -> None:
        positions: deque[InstancePosition] = deque()

        async def instances() -> AsyncIterator[PlannedInstance]:
            async for each in iter_instances(self._index, self._resources, self.checkpoint.last_sent):
                positions.append(each.position)
                yield each.instance

        async with aclosing(self._results(instances())) as results:
            async for result in results:
                await self._record(result, positions.popleft())
                if len(self.checkpoint.failures) > MAX_FAILURES:
                    raise await self._failure(f"given up after {self.checkpoint.problem}")
                if len(self.checkpoint.retry) > MAX_RETRY:
                    raise SendIncomplete(self.checkpoint.problem)

    async def _record(self, result: SubOperationResult, position: InstancePosition | None = None) -> None:
        checkpoint = self.checkpoint
        if result.outcome is not None and not self._answered:
            self._answered = True
            checkpoint.suspect_broken()
        checkpoint.record(result, position, answered=self._answered)
        if checkpoint.is_broken_too_often:
            raise await self._failure(f"given up after {checkpoint.broken} broken associations: {checkpoint.problem}")

    def _results(self, instances: AsyncIterator[PlannedInstance]) -> AsyncGenerator[SubOperationResult]:
        return with_checkpoints(self._deliver(instances), self.save)
