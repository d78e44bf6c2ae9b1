"""Sends all instances of a job's resources, each at least once, over as many runs as it takes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from osteon.contracts.retrieve import PlannedInstance
from osteon.errors import Invalid, OsteonError, Unavailable
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.sending.suboperations import SubOperationResult
from osteon_dispatcher.checkpointing import with_checkpoints
from osteon_dispatcher.store_jobs.checkpoint import FAILED_INSTANCES, MAX_FAILED, MAX_RETRY, SendCheckpoint
from osteon_dispatcher.store_jobs.resources import InstancePosition, iter_by_uid, iter_instances

Deliver = Callable[[AsyncIterator[PlannedInstance]], AsyncGenerator[SubOperationResult]]
"""Sends instances, yields what became of each, in order; raises `Unavailable` when the receiver can not be reached."""


_RETRY_PAUSE: Final = 1.0
"""Seconds before instances that were refused for the moment are sent again in the same run."""


class SendFailed(Invalid):
    """Some instances were refused for good; the message tells how many, and why the first one."""


class SendIncomplete(Unavailable):
    """Some instances were refused for the moment."""


class SendRun:
    """One run of a job that sends."""

    def __init__(self, run: JobRun, index: Index, resources: Sequence[str], deliver: Deliver) -> None:
        self.progress = SendCheckpoint.of(run.job.checkpoint)
        self._run = run
        self._index = index
        self._resources = resources
        self._deliver = deliver
        self._content = dict(run.job.content)

    async def send(self, *, permissive: bool) -> None:
        """Send what has to be sent. On return all were, but for those in `progress.failed` if `permissive`.

        Raises `SendFailed` when some failed for good, `SendIncomplete` or another `Unavailable` when the rest is to be
        sent later: the checkpoint says which.
        """
        self.progress.resume()
        try:
            if self.progress.total is None:
                await self._count()
            if self.progress.again:
                await self._once_more()
            await self._first_pass()
            if self.progress.again:
                await asyncio.sleep(_RETRY_PAUSE)
                await self._once_more()
        except OsteonError:
            await self.save()
            raise
        await self.save()
        if self.progress.again:
            raise SendIncomplete(self.progress.problem)
        if self.progress.failed and not permissive:
            raise await self._over(self.progress.problem)

    async def save(self, **content: Any) -> None:
        """Keep the checkpoint, and show how far the job is."""
        self._content.pop(FAILED_INSTANCES, None)
        self._content |= self.progress.content | content
        progress = self.progress
        await self._run.save(progress=progress.percent, content=self._content, checkpoint=progress.checkpoint)

    async def _over(self, problem: str) -> SendFailed:
        """Note that the job has failed: who resubmits it wants what failed to be tried again."""
        self.progress.over = True
        await self.save()
        return SendFailed(problem)

    async def _count(self) -> None:
        total = size = 0
        async for each in iter_instances(self._index, self._resources):
            total += 1
            size += each.instance.length
        self.progress.total, self.progress.size = total, size
        await self.save()

    async def _once_more(self) -> None:
        uids = list(self.progress.again)
        seen = set()
        async with aclosing(self._sent(iter_by_uid(self._index, uids))) as results:
            async for sent in results:
                seen.add(sent.instance.sop_instance_uid)
                self.progress.note(sent)
        for uid in set(uids) - seen:
            self.progress.again.pop(uid, None)  # it is not in the archive any more

    async def _first_pass(self) -> None:
        positions: deque[InstancePosition] = deque()

        async def instances() -> AsyncIterator[PlannedInstance]:
            async for each in iter_instances(self._index, self._resources, self.progress.at):
                positions.append(each.position)
                yield each.instance

        async with aclosing(self._sent(instances())) as results:
            async for sent in results:
                self.progress.passed(positions.popleft(), sent)
                await self._raise_if_too_many()

    async def _raise_if_too_many(self) -> None:
        if len(self.progress.failed) > MAX_FAILED:
            raise await self._over(f"given up after {self.progress.problem}")
        if len(self.progress.again) > MAX_RETRY:
            raise SendIncomplete(self.progress.problem)

    def _sent(self, instances: AsyncIterator[PlannedInstance]) -> AsyncGenerator[SubOperationResult]:
        return with_checkpoints(self._deliver(instances), self.save)
