"""Kinds of jobs for tests of what runs them, and waiting for what becomes of a job."""

import asyncio
from collections.abc import Awaitable, Callable, Container

from osteon.jobs.port import Job, Jobs, JobState
from osteon.jobs.run import JobRun, JobType
from osteon.jobs.runner import RunnerConfig

FAST = RunnerConfig(concurrency=4, lease=30.0, poll=0.03, grace=5.0, first_retry=0.02)
OVER = (JobState.SUCCESS, JobState.FAILURE)


def kind(work: Callable[[JobRun], Awaitable[None]], patience: float = 60.0) -> dict[str, JobType]:
    """Return kinds with the one type `a`."""
    return {"a": JobType(work, patience)}


async def until(jobs: Jobs, job: Job, states: Container[JobState] = OVER) -> Job:
    """Wait until a job is in one of these states."""
    async with asyncio.timeout(20):
        while (found := await jobs.get(job.id)).state not in states:
            await asyncio.sleep(0.01)
    return found


class StepwiseWork:
    """Work of `total` steps that saves each one, and can be held before one of them."""

    def __init__(self, total: int = 5, hold: int | None = None) -> None:
        self.done: list[int] = []
        self.held = asyncio.Event()
        self.go = asyncio.Event()
        self._total = total
        self._hold = hold

    async def __call__(self, run: JobRun) -> None:
        for step in range(run.job.checkpoint.get("step", 0), self._total):
            if step == self._hold and not self.go.is_set():
                self.held.set()
                await self.go.wait()
            self.done.append(step)
            await run.save(progress=step * 100 // self._total, checkpoint={"step": step + 1})
