"""Jobs on PostgreSQL: their workers are killed, and their database."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon.errors import Invalid
from osteon.index.sql import SqlIndex
from osteon.jobs.port import JobState
from osteon.jobs.run import JobRun, JobType
from osteon.jobs.runner import JobRunner, RunnerConfig
from support.jobs import crash_worker
from support.jobs.job_types import OVER, StepwiseWork, until

pytestmark = pytest.mark.slow


@pytest.fixture
def url(own_postgres) -> str:
    return own_postgres.create_database()


@pytest.fixture
async def index(url: str) -> AsyncIterator[SqlIndex]:
    opened = SqlIndex(url)
    await opened.start()
    yield opened
    await opened.close()


async def worker(url: str, lease: float) -> Process:
    script = str(Path(crash_worker.__file__))
    return await asyncio.create_subprocess_exec(sys.executable, script, url, str(lease), stdout=PIPE)


async def steps_of(process: Process) -> list[int]:
    """Kill a worker; return the steps that it printed and nobody read."""
    process.kill()
    out, _ = await process.communicate()
    return [int(line) for line in out.split() if line.isdigit()]


async def test_a_job_whose_worker_is_killed_in_the_middle_is_completed_by_another_from_its_checkpoint(index, url):
    job = await index.jobs.submit("a", {})
    first = await worker(url, 1.0)
    second: Process | None = None
    try:
        async with asyncio.timeout(30):
            while (await index.jobs.get(job.id)).progress < 30:
                await asyncio.sleep(0.02)
        before = await steps_of(first)
        left = await index.jobs.get(job.id)
        assert left.state is JobState.RUNNING
        second = await worker(url, 1.0)
        done = await until(index.jobs, job)
    finally:
        for process in (first, second):
            if process is not None and process.returncode is None:
                after = await steps_of(process)
    assert (done.state, done.attempts, done.faults) == (JobState.SUCCESS, 2, 1)
    assert after == list(range(left.checkpoint["step"], 20))
    assert sorted({*before, *after}) == list(range(20))


async def test_two_workers_share_the_jobs_and_do_each_once(index):
    runs: list[str] = []

    async def work(run: JobRun) -> None:
        runs.append(run.job.id)
        await asyncio.sleep(0.005)

    made = [await index.jobs.submit("a", {}) for _ in range(40)]
    kinds, pace = {"a": JobType(work, 60)}, RunnerConfig(concurrency=3, poll=0.05)
    async with JobRunner(index.jobs, kinds, pace), JobRunner(index.jobs, kinds, pace):
        for job in made:
            await until(index.jobs, job)
    assert sorted(runs) == sorted(job.id for job in made)


async def test_what_an_error_quotes_can_be_stored(index):
    async def work(_run: JobRun) -> None:
        raise Invalid("SINK answers 'a\0b\udce4'")

    async with JobRunner(index.jobs, {"a": JobType(work, 60)}, RunnerConfig(poll=0.05)):
        job = await until(index.jobs, await index.jobs.submit("a", {}))
    assert job.error == "SINK answers 'ab?'"


async def test_a_runner_goes_on_when_the_database_is_back(index, own_postgres):
    steps = StepwiseWork(hold=2)
    async with JobRunner(index.jobs, {"a": JobType(steps, 0)}, RunnerConfig(lease=30, poll=0.05)):
        job = await index.jobs.submit("a", {})
        await steps.held.wait()
        await asyncio.to_thread(own_postgres.kill)
        steps.go.set()
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_postgres.start)
        assert (await until(index.jobs, job, OVER)).state is JobState.SUCCESS
        assert (await until(index.jobs, await index.jobs.submit("a", {}))).state is JobState.SUCCESS
