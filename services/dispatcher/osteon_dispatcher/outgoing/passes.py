"""Sends all instances of a job's resources, each at least once, over as many runs as it takes."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from osteon.archive.ports import InstanceLocator
from osteon.contracts.retrieve import PlannedInstance
from osteon.errors import Invalid, OsteonError, Unavailable
from osteon.jobs.run import Run
from osteon.sending.accounting import Sent
from osteon_dispatcher.keeping import keeping
from osteon_dispatcher.outgoing.progress import FAILED_INSTANCES, MOST_AGAIN, MOST_FAILED, Progress
from osteon_dispatcher.outgoing.resources import Position, of_uids, placed

Deliver = Callable[[AsyncIterator[PlannedInstance]], AsyncGenerator[Sent]]
"""Sends instances, yields what became of each, in order; raises `Unavailable` when the receiver can not be reached."""


_BREATH: Final = 1.0
"""Seconds before instances that were refused for the moment are sent again in the same run."""


class NotSent(Invalid):
    """Some instances were refused for good; the message tells how many, and why the first one."""


class NotSentYet(Unavailable):
    """Some instances were refused for the moment."""


class Passes:
    """One run of a job that sends."""

    def __init__(self, run: Run, index: InstanceLocator, resources: Sequence[str], deliver: Deliver) -> None:
        self.progress = Progress.of(run.job.checkpoint)
        self._run = run
        self._index = index
        self._resources = resources
        self._deliver = deliver
        self._content = dict(run.job.content)

    async def send(self, *, permissive: bool) -> None:
        """Send what has to be sent. On return all were, but for those in `progress.failed` if `permissive`.

        Raises `NotSent` when some failed for good, `NotSentYet` or another `Unavailable` when the rest is to be sent
        later: the checkpoint says which.
        """
        self.progress.resume()
        try:
            if self.progress.total is None:
                await self._count()
            if self.progress.again:
                await self._once_more()
            await self._first_pass()
            if self.progress.again:
                await asyncio.sleep(_BREATH)
                await self._once_more()
        except OsteonError:
            await self.save()
            raise
        await self.save()
        if self.progress.again:
            raise NotSentYet(self.progress.problem)
        if self.progress.failed and not permissive:
            raise await self._over(self.progress.problem)

    async def save(self, **content: Any) -> None:
        """Keep the checkpoint, and show how far the job is."""
        self._content.pop(FAILED_INSTANCES, None)
        self._content |= self.progress.content | content
        progress = self.progress
        await self._run.save(progress=progress.percent, content=self._content, checkpoint=progress.checkpoint)

    async def _over(self, problem: str) -> NotSent:
        """Note that the job has failed: who resubmits it wants what failed to be tried again."""
        self.progress.over = True
        await self.save()
        return NotSent(problem)

    async def _count(self) -> None:
        total = size = 0
        async for each in placed(self._index, self._resources):
            total += 1
            size += each.instance.length
        self.progress.total, self.progress.size = total, size
        await self.save()

    async def _once_more(self) -> None:
        uids = list(self.progress.again)
        seen = set()
        async with aclosing(self._sent(of_uids(self._index, uids))) as results:
            async for sent in results:
                seen.add(sent.instance.sop_instance_uid)
                self.progress.note(sent)
        for uid in set(uids) - seen:
            self.progress.again.pop(uid, None)  # it is not in the archive any more

    async def _first_pass(self) -> None:
        positions: deque[Position] = deque()

        async def instances() -> AsyncIterator[PlannedInstance]:
            async for each in placed(self._index, self._resources, self.progress.at):
                positions.append(each.position)
                yield each.instance

        async with aclosing(self._sent(instances())) as results:
            async for sent in results:
                self.progress.passed(positions.popleft(), sent)
                await self._raise_if_too_many()

    async def _raise_if_too_many(self) -> None:
        if len(self.progress.failed) > MOST_FAILED:
            raise await self._over(f"given up after {self.progress.problem}")
        if len(self.progress.again) > MOST_AGAIN:
            raise NotSentYet(self.progress.problem)

    def _sent(self, instances: AsyncIterator[PlannedInstance]) -> AsyncGenerator[Sent]:
        return keeping(self._deliver(instances), self.save)
