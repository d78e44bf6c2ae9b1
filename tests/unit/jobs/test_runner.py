"""The runner of jobs, over SQLite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from osteon import metrics
from osteon.errors import DatabaseUnavailable, Invalid, NotFound, Unavailable
from osteon.index.sql import SqlIndex
from osteon.jobs.outcome import MAX_FAULTS
from osteon.jobs.port import Job, JobCommand, JobOutcome, JobState
from osteon.jobs.run import JobRun
from osteon.jobs.runner import JobRunner, RunnerConfig
from support.index.stored_packs import sqlite_url
from support.jobs.job_types import FAST, StepwiseWork, kind, until
from support.metric_values import value

SLOW_POLL = RunnerConfig(lease=30.0, poll=60.0, first_retry=0.02)


@pytest.fixture(autouse=True)
def beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wishes are seen soon, although leases are so long that a busy machine loses none."""
    monkeypatch.setattr("osteon.jobs.runner._BEAT", 0.1)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqlIndex]:
    opened = SqlIndex(sqlite_url(tmp_path / "i.db"))
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def other(index: SqlIndex, tmp_path: Path) -> AsyncIterator[SqlIndex]:
    """The same database as another process has it open."""
    opened = SqlIndex(sqlite_url(tmp_path / "i.db"))
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def jobs(index: SqlIndex) -> Any:
    return index.jobs


class Failing:
    """Work that raises these errors, one a run, and then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)
        self.runs = 0

    async def __call__(self, run: JobRun) -> None:
        self.runs += 1
        if self._errors:
            raise self._errors.pop(0)


async def test_a_job_is_run_at_once_when_this_process_submits_it(jobs):
    steps = StepwiseWork()
    async with JobRunner(jobs, kind(steps), SLOW_POLL):
        await asyncio.sleep(0.05)
        job = await until(jobs, await jobs.submit("a", {}))
    assert (job.state, job.progress, job.attempts, steps.done) == (JobState.SUCCESS, 100, 1, [0, 1, 2, 3, 4])


async def test_a_job_that_another_process_submitted_is_found_by_looking(jobs, other):
    async with JobRunner(jobs, kind(StepwiseWork()), FAST):
        await asyncio.sleep(0.05)
        assert (await until(jobs, await other.jobs.submit("a", {}))).state is JobState.SUCCESS


async def test_no_more_jobs_run_at_the_same_time_than_allowed(jobs):
    running = most = 0
    full = asyncio.Event()

    async def work(_run: JobRun) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            full.set()
        await full.wait()
        await asyncio.sleep(0.02)
        running -= 1

    submitted = [await jobs.submit("a", {}) for _ in range(6)]
    async with JobRunner(jobs, kind(work), RunnerConfig(concurrency=2, poll=0.05)):
        for job in submitted:
            await until(jobs, job)
    assert most == 2


async def test_work_that_is_not_possible_now_is_tried_again(jobs, monkeypatch):
    work = Failing(Unavailable("the modality does not answer"), Unavailable("nor now"))
    written, finish = list[Job](), jobs.finish

    async def finish_and_look(job_id: str, worker: str, end: JobOutcome) -> None:
        await finish(job_id, worker, end)
        written.append(await jobs.get(job_id))  # the one place of the runner is taken until this returns

    monkeypatch.setattr(jobs, "finish", finish_and_look)
    async with JobRunner(jobs, kind(work), replace(FAST, concurrency=1)):
        job = await until(jobs, await jobs.submit("a", {}))
    assert [(each.state, each.error_code, each.error) for each in written[:2]] == [
        (JobState.RETRY, 9, "the modality does not answer"), (JobState.RETRY, 9, "nor now"),
    ]  # fmt: skip
    assert (job.state, job.attempts, job.error_code, job.error, work.runs) == (JobState.SUCCESS, 3, 0, "", 3)


async def test_patience_comes_to_an_end_the_jobs_own_before_its_kinds(jobs, monkeypatch):
    class Clock(datetime):
        passed = timedelta()

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + cls.passed

    async def work(run: JobRun) -> None:
        if run.job.attempts == 2:
            Clock.passed = timedelta(seconds=600)
        raise Unavailable("no answer")

    monkeypatch.setattr("osteon.jobs.runner.datetime", Clock)
    async with JobRunner(jobs, kind(work, patience=3600), FAST):
        job = await until(jobs, await jobs.submit("a", {"patience": 600}))
    assert (job.state, job.error_code, job.error) == (JobState.FAILURE, 9, "no answer")
    assert job.attempts == 2


@pytest.mark.parametrize(("error", "code"), [(Invalid("no such tag"), 8), (NotFound("no such study"), 17)])
async def test_what_can_never_succeed_fails_at_once(jobs, error, code):
    async with JobRunner(jobs, kind(Failing(error)), FAST):
        job = await until(jobs, await jobs.submit("a", {}))
    assert (job.state, job.error_code, job.error, job.attempts) == (JobState.FAILURE, code, str(error), 1)


async def test_an_error_that_nobody_expected_is_tried_a_few_times_again(jobs):
    work = Failing(*(KeyError("x") for _ in range(9)))
    async with JobRunner(jobs, kind(work), FAST):
        job = await until(jobs, await jobs.submit("a", {}))
    assert (job.state, job.error_code, job.error) == (JobState.FAILURE, -1, "KeyError: 'x'")
    assert work.runs == job.attempts == MAX_FAULTS + 1


async def test_work_that_is_cancelled_from_within_is_an_unexpected_error(jobs):
    async with JobRunner(jobs, kind(Failing(*(asyncio.CancelledError() for _ in range(9)))), FAST):
        job = await until(jobs, await jobs.submit("a", {}))
    assert (job.state, job.error_code) == (JobState.FAILURE, -1)
    assert "cancelled from within" in job.error


async def test_an_outage_of_the_database_does_not_use_up_patience(jobs):
    work = Failing(DatabaseUnavailable("gone"), DatabaseUnavailable("gone"))
    async with JobRunner(jobs, kind(work, patience=0), FAST):
        assert (await until(jobs, await jobs.submit("a", {}))).state is JobState.SUCCESS


async def test_a_job_is_paused_in_the_middle_and_goes_on_from_there(jobs):
    steps = StepwiseWork(hold=2)
    async with JobRunner(jobs, kind(steps), FAST):
        job = await jobs.submit("a", {})
        await steps.held.wait()
        await jobs.command(job.id, JobCommand.PAUSE)
        paused = await until(jobs, job, (JobState.PAUSED,))
        assert (paused.checkpoint, paused.completed) == ({"step": 2}, None)
        steps.go.set()
        await jobs.command(job.id, JobCommand.RESUME)
        assert (await until(jobs, job)).state is JobState.SUCCESS
    assert steps.done == [0, 1, 2, 3, 4]


async def test_a_job_is_cancelled_in_the_middle_and_resubmitted(jobs):
    steps = StepwiseWork(hold=3)
    async with JobRunner(jobs, kind(steps), FAST):
        job = await jobs.submit("a", {})
        await steps.held.wait()
        await jobs.command(job.id, JobCommand.CANCEL)
        cancelled = await until(jobs, job)
        assert (cancelled.state, cancelled.error_code) == (JobState.FAILURE, 37)
        steps.go.set()
        await jobs.command(job.id, JobCommand.RESUBMIT)
        assert (await until(jobs, job)).state is JobState.SUCCESS
    assert steps.done == [0, 1, 2, 3, 4]


async def test_a_wish_that_its_dead_worker_never_saw_is_granted_before_any_work(jobs):
    steps, job = StepwiseWork(), await jobs.submit("a", {})
    await jobs.claim("dead", ["a"], -1)
    await jobs.command(job.id, JobCommand.CANCEL)
    async with JobRunner(jobs, kind(steps), FAST):
        assert (await until(jobs, job)).error_code == 37
    assert steps.done == []


async def test_the_job_of_a_dead_worker_is_taken_over_from_its_checkpoint(jobs):
    steps, job = StepwiseWork(), await jobs.submit("a", {})
    await jobs.claim("dead", ["a"], 60)
    await jobs.save(job.id, "dead", lease=-1, checkpoint={"step": 3})
    async with JobRunner(jobs, kind(steps), FAST):
        assert (await until(jobs, job)).state is JobState.SUCCESS
    assert steps.done == [3, 4]


async def test_a_job_that_kills_its_workers_fails_in_the_end(jobs):
    steps, job = StepwiseWork(), await jobs.submit("a", {})
    for number in range(MAX_FAULTS + 1):
        assert await jobs.claim(f"dead {number}", ["a"], -1)
    async with JobRunner(jobs, kind(steps), FAST):
        failed = await until(jobs, job)
    assert failed.state is JobState.FAILURE
    assert "4 times" in failed.error
    assert steps.done == []


@pytest.mark.slow
async def test_long_work_that_saves_nothing_keeps_its_job(jobs):
    runs = 0

    async def work(_run: JobRun) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(4.5)

    # A lease that a busy machine does not lose between two renewals, and work that is longer than a lease.
    leased = RunnerConfig(lease=3.0, poll=0.05)
    async with JobRunner(jobs, kind(work), leased), JobRunner(jobs, kind(work), leased):
        job = await until(jobs, await jobs.submit("a", {}))
    assert (job.state, job.attempts, runs) == (JobState.SUCCESS, 1, 1)


async def test_a_job_that_another_worker_took_is_let_go(jobs, tmp_path):
    steps = StepwiseWork(hold=0)
    async with JobRunner(jobs, kind(steps), SLOW_POLL):
        job = await jobs.submit("a", {})
        await steps.held.wait()
        running = await jobs.get(job.id)
        row = _worker_of(tmp_path / "i.db", job.id)
        await jobs.save(job.id, row, lease=-1)
        taken = await jobs.claim("other", ["a"], 60)
        assert taken is not None and taken.attempts == running.attempts + 1
        while value(metrics.JOBS_RUNNING):
            await asyncio.sleep(0.02)
        assert (await jobs.save(job.id, "other", lease=60)) is None
    assert steps.done == []


def _worker_of(database: Path, job_id: str) -> str:
    with closing(sqlite3.connect(database)) as connection:
        ((worker,),) = connection.execute("SELECT worker FROM jobs WHERE id = ?", (job_id,))
    return str(worker)


async def test_a_runner_that_stops_gives_its_jobs_back(jobs):
    steps = StepwiseWork(hold=2)
    async with JobRunner(jobs, kind(steps), FAST):
        job = await jobs.submit("a", {})
        await steps.held.wait()
    given = await jobs.get(job.id)
    assert (given.state, given.attempts, given.faults, given.checkpoint) == (JobState.PENDING, 0, 0, {"step": 2})
    steps.go.set()
    async with JobRunner(jobs, kind(steps), SLOW_POLL):
        assert (await until(jobs, job)).attempts == 1
    assert steps.done == [0, 1, 2, 3, 4]


async def test_a_runner_stops_although_the_database_does_not_answer(jobs, monkeypatch):
    steps = StepwiseWork(hold=2)
    async with JobRunner(jobs, kind(steps), RunnerConfig(poll=0.03, grace=0.1)):
        await jobs.submit("a", {})
        await steps.held.wait()
        monkeypatch.setattr(jobs, "finish", _down)


async def test_a_runner_stops_although_the_database_hangs(jobs, monkeypatch):
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(jobs, "claim", hang)
    async with asyncio.timeout(10):
        async with JobRunner(jobs, kind(StepwiseWork()), RunnerConfig(grace=0.05)):
            await asyncio.sleep(0.02)


async def test_a_runner_outlives_an_outage_of_the_database(jobs, monkeypatch):
    steps = StepwiseWork(hold=2)
    async with JobRunner(jobs, kind(steps), FAST):
        first = await jobs.submit("a", {})
        await steps.held.wait()
        second = await jobs.submit("a", {}, priority=-1)
        with monkeypatch.context() as outage:
            for call in ("claim", "save", "finish", "counts", "prune"):
                outage.setattr(jobs, call, _down)
            steps.go.set()
            await asyncio.sleep(0.3)
        for job in (first, second):
            assert (await until(jobs, job)).state is JobState.SUCCESS
    assert steps.done[:2] == [0, 1]
    assert set(steps.done) == set(range(5))


async def test_work_ends_when_its_lease_cannot_be_renewed_for_too_long(jobs, monkeypatch):
    ended, save = asyncio.Event(), jobs.save

    async def work(run: JobRun) -> None:
        if run.job.checkpoint:
            return
        await run.save(checkpoint={"begun": True})
        monkeypatch.setattr(jobs, "save", _down)
        try:
            await asyncio.sleep(60)
        finally:
            monkeypatch.setattr(jobs, "save", save)
            ended.set()

    async with JobRunner(jobs, kind(work), replace(FAST, lease=0.6)):
        job = await jobs.submit("a", {})
        await asyncio.wait_for(ended.wait(), 20)
        assert (await until(jobs, job)).state is JobState.SUCCESS


async def _down(*_: object, **__: object) -> None:
    raise DatabaseUnavailable("connection refused")


async def test_metrics_say_how_many_jobs_there_are(jobs):
    steps = StepwiseWork(hold=0)
    async with JobRunner(jobs, kind(steps), replace(FAST, count_seconds=0.02)):
        await jobs.submit("a", {})
        await steps.held.wait()
        assert value(metrics.JOBS_RUNNING) == 1
        while value(metrics.JOBS.labels(type="a", state="Running")) != 1:
            await asyncio.sleep(0.02)


async def test_jobs_that_are_over_are_forgotten_in_time(jobs):
    async with JobRunner(jobs, kind(StepwiseWork()), FAST):
        await until(jobs, await jobs.submit("a", {}))
        waiting = await jobs.submit("b", {})
    async with JobRunner(jobs, kind(StepwiseWork()), RunnerConfig(keep=0, keep_seconds=0)):
        while len(await jobs.list()) > 1:
            await asyncio.sleep(0.02)
    assert [job.id for job in await jobs.list()] == [waiting.id]
