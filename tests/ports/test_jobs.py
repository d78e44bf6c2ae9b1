"""The contract of `osteon.jobs.port.Jobs`, over SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon.index.sql import SqlIndex
from osteon.jobs.port import JobCommand, JobNotFound, JobOutcome, Jobs, JobState, LeaseLost, WrongState
from support.index.stored_packs import sqlite_url

HOUR = timedelta(hours=1)
A = ("a",)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlIndex]:
    postgres = request.param == "postgres"
    opened = SqlIndex(str(request.getfixturevalue("index_url")) if postgres else sqlite_url(tmp_path / "i.db"))
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def jobs(index: SqlIndex) -> Jobs:
    return index.jobs


async def test_a_job_comes_back_as_it_was_submitted(jobs):
    job = await jobs.submit("a", {"x": [1, "ü"]}, content={"RemoteAet": "SINK"}, priority=-3)
    assert job == await jobs.get(job.id)
    assert (job.type, job.state, job.priority, job.progress) == ("a", JobState.PENDING, -3, 0)
    assert (job.params, job.content, job.checkpoint) == ({"x": [1, "ü"]}, {"RemoteAet": "SINK"}, {})
    assert job.created == job.since == job.due
    assert (job.completed, job.command, job.error_code, job.error) == (None, None, 0, "")


async def test_what_is_not_known_is_said(jobs):
    for call in (jobs.get("x"), jobs.command("x", JobCommand.PAUSE), jobs.delete("x")):
        with pytest.raises(JobNotFound, match="'x'"):
            await call
    for odd in ("", "a\0b", "é", "\n", "x" * 9999):
        with pytest.raises(JobNotFound):
            await jobs.get(odd)


async def test_a_key_has_one_job(jobs):
    first = await jobs.submit("a", {"n": 1}, key="k")
    assert await jobs.submit("a", {"n": 2}, key="k") == first
    several = await asyncio.gather(*(jobs.submit("a", {}, key="l") for _ in range(5)))
    assert len({job.id for job in several}) == 1
    assert len({job.id for job in await jobs.list()}) == 2


async def test_jobs_are_listed_with_the_newest_first(jobs):
    made = [await jobs.submit(kind, {}) for kind in ("a", "b", "a")]
    assert [job.id for job in await jobs.list()] == [job.id for job in reversed(made)]
    assert [job.id for job in await jobs.list(types=["a"], limit=1)] == [made[2].id]
    await jobs.claim("w", ["b"], 60)
    assert [job.id for job in await jobs.list(states=[JobState.RUNNING, JobState.SUCCESS])] == [made[1].id]
    assert await jobs.counts() == {("a", JobState.PENDING): 2, ("b", JobState.RUNNING): 1}


async def test_the_most_urgent_job_is_claimed_then_the_oldest(jobs):
    made = [await jobs.submit("a", {}, priority=priority) for priority in (0, 5, 5, -1)]
    claimed = [await jobs.claim(f"w{number}", A, 60) for number in range(5)]
    assert [job and job.id for job in claimed] == [made[1].id, made[2].id, made[0].id, made[3].id, None]


async def test_only_jobs_of_the_requested_types_and_that_are_due_are_claimed(jobs):
    await jobs.submit("a", {}, due=datetime.now(UTC) + HOUR)
    await jobs.submit("b", {})
    assert await jobs.claim("w", A, 60) is None
    assert await jobs.claim("w", (), 60) is None


async def test_a_claimed_job_is_running_and_belongs_to_its_worker(jobs):
    job = await jobs.submit("a", {})
    claimed = await jobs.claim("w", A, 60)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.attempts, claimed.faults) == (job.id, JobState.RUNNING, 1, 0)
    assert await jobs.claim("v", A, 60) is None
    with pytest.raises(LeaseLost):
        await jobs.save(job.id, "v", lease=60)
    with pytest.raises(LeaseLost):
        await jobs.finish(job.id, "v", JobOutcome(state=JobState.SUCCESS))
    assert (await jobs.get(job.id)).state is JobState.RUNNING


async def test_each_job_is_claimed_once_by_workers_that_hurry(jobs):
    made = {(await jobs.submit("a", {})).id for _ in range(8)}
    claimed = [job for job in await asyncio.gather(*(jobs.claim(f"w{n}", A, 60) for n in range(16))) if job]
    assert len(claimed) == len({job.id for job in claimed})
    while job := await jobs.claim(f"x{len(claimed)}", A, 60):
        claimed.append(job)
    assert {job.id for job in claimed} == made and len(claimed) == 8


async def test_a_job_whose_lease_ran_out_is_taken_over_with_its_checkpoint(jobs):
    job = await jobs.submit("a", {})
    await jobs.claim("w", A, 60)
    assert await jobs.save(job.id, "w", lease=-1, progress=40, checkpoint={"done": 2}, content={"n": 2}) is None
    assert (await jobs.get(job.id)).progress == 40
    taken = await jobs.claim("v", A, 60)
    assert taken is not None
    assert (taken.id, taken.checkpoint, taken.content) == (job.id, {"done": 2}, {"n": 2})
    assert (taken.attempts, taken.faults) == (2, 1)
    with pytest.raises(LeaseLost):
        await jobs.save(job.id, "w", lease=60)


async def test_a_late_worker_keeps_the_job_that_no_other_took(jobs):
    job = await jobs.submit("a", {})
    await jobs.claim("w", A, -1)
    await jobs.save(job.id, "w", lease=60)
    assert await jobs.claim("v", A, 60) is None


async def test_what_is_not_saved_stays(jobs):
    job = await jobs.submit("a", {}, content={"n": 1})
    await jobs.claim("w", A, 60)
    await jobs.save(job.id, "w", lease=60, checkpoint={"c": 1})
    await jobs.save(job.id, "w", lease=60, progress=400)
    found = await jobs.get(job.id)
    assert (found.content, found.checkpoint, found.progress) == ({"n": 1}, {"c": 1}, 100)


async def test_a_success_is_complete_and_has_a_runtime(jobs):
    job = await jobs.submit("a", {})
    await jobs.claim("w", A, 60)
    await asyncio.sleep(0.02)
    await jobs.finish(job.id, "w", JobOutcome(state=JobState.SUCCESS))
    found = await jobs.get(job.id)
    assert (found.state, found.progress, found.error_code) == (JobState.SUCCESS, 100, 0)
    assert found.completed is not None
    assert 0.02 <= found.runtime < 30
    assert await jobs.claim("w", A, 60) is None


async def test_a_job_is_tried_again_when_it_is_due(jobs):
    job = await jobs.submit("a", {})
    await jobs.claim("w", A, 60)
    later = datetime.now(UTC) + timedelta(milliseconds=100)
    await jobs.finish(job.id, "w", JobOutcome(state=JobState.RETRY, error_code=9, error="no answer", due=later))
    found = await jobs.get(job.id)
    assert (found.state, found.error_code, found.error, found.due) == (JobState.RETRY, 9, "no answer", later)
    async with asyncio.timeout(30):
        while (again := await jobs.claim("w2", A, 60)) is None:
            await asyncio.sleep(0.02)
    assert datetime.now(UTC) >= later
    assert (again.attempts, again.error_code, again.error) == (2, 0, "")


async def test_a_run_that_is_given_back_does_not_count(jobs):
    job = await jobs.submit("a", {})
    await jobs.claim("w", A, 60)
    await jobs.finish(job.id, "w", JobOutcome(state=JobState.PENDING))
    assert (await jobs.get(job.id)).attempts == 0
    assert (await jobs.claim("v", A, 60)) is not None


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RETRY])
async def test_a_waiting_job_is_paused_resumed_and_cancelled_at_once(jobs, state):
    job = await jobs.submit("a", {})
    if state is JobState.RETRY:
        await jobs.claim("w", A, 60)
        await jobs.finish(job.id, "w", JobOutcome(state=state, due=datetime.now(UTC)))
    assert (await jobs.command(job.id, JobCommand.PAUSE)).state is JobState.PAUSED
    assert await jobs.claim("w", A, 60) is None
    assert (await jobs.command(job.id, JobCommand.PAUSE)).state is JobState.PAUSED
    resumed = await jobs.command(job.id, JobCommand.RESUME)
    assert resumed.state is JobState.PENDING
    assert resumed.since > job.since
    cancelled = await jobs.command(job.id, JobCommand.CANCEL)
    assert (cancelled.state, cancelled.error_code) == (JobState.FAILURE, 37)
    assert cancelled.completed is not None
    assert await jobs.claim("w", A, 60) is None


async def test_a_running_jobs_worker_learns_what_is_wanted(jobs):
    job = await jobs.submit("a", {})
    await jobs.claim("w", A, 60)
    assert (await jobs.command(job.id, JobCommand.PAUSE)).command is JobCommand.PAUSE
    assert await jobs.save(job.id, "w", lease=60) is JobCommand.PAUSE
    assert (await jobs.command(job.id, JobCommand.RESUME)).command is None
    assert await jobs.save(job.id, "w", lease=60) is None
    await jobs.command(job.id, JobCommand.CANCEL)
    assert (await jobs.command(job.id, JobCommand.PAUSE)).command is JobCommand.CANCEL
    await jobs.finish(job.id, "w", JobOutcome(state=JobState.PAUSED))
    found = await jobs.get(job.id)
    assert (found.state, found.command, found.completed) == (JobState.PAUSED, None, None)


async def test_a_failed_job_is_resubmitted_with_its_checkpoint_as_if_it_were_new(jobs):
    job = await jobs.submit("a", {})
    await jobs.claim("w", A, 60)
    await jobs.save(job.id, "w", lease=60, progress=30, checkpoint={"c": 1})
    await jobs.finish(job.id, "w", JobOutcome(state=JobState.FAILURE, error_code=9, error="gone", fault=True))
    assert (await jobs.get(job.id)).faults == 1
    again = await jobs.command(job.id, JobCommand.RESUBMIT)
    assert (again.state, again.attempts, again.faults, again.error_code, again.error) == (JobState.PENDING, 0, 0, 0, "")
    assert (again.checkpoint, again.completed) == ({"c": 1}, None)
    assert (await jobs.claim("w", A, 60)) is not None


async def test_wishes_that_a_state_does_not_allow_are_refused(jobs):
    job = await jobs.submit("a", {})
    for command, words in ((JobCommand.RESUME, "only a paused job"), (JobCommand.RESUBMIT, "only a job that failed")):
        with pytest.raises(WrongState, match=words):
            await jobs.command(job.id, command)
    with pytest.raises(WrongState, match="cancel it first"):
        await jobs.delete(job.id)
    await jobs.claim("w", A, 60)
    await jobs.finish(job.id, "w", JobOutcome(state=JobState.SUCCESS))
    for command in (JobCommand.PAUSE, JobCommand.CANCEL):
        assert (await jobs.command(job.id, command)).state is JobState.SUCCESS
    await jobs.delete(job.id)
    with pytest.raises(JobNotFound):
        await jobs.get(job.id)


async def test_old_jobs_that_are_over_are_forgotten_but_for_the_newest(jobs):
    made = [await jobs.submit("a", {}) for _ in range(4)]
    for job in made[:3]:
        await jobs.command(job.id, JobCommand.CANCEL)
    now = datetime.now(UTC)
    assert await jobs.prune(keep=0, older_than=now - HOUR) == 0
    assert await jobs.prune(keep=1, older_than=now + HOUR) == 2
    assert [job.id for job in await jobs.list()] == [made[3].id, made[2].id]


async def test_who_waits_for_jobs_is_woken_when_one_arrives(jobs):
    await jobs.wait_for_work(0)
    waiting = asyncio.create_task(jobs.wait_for_work(60))
    await asyncio.sleep(0)
    job = await jobs.submit("a", {})
    await asyncio.wait_for(waiting, 10)
    await jobs.command(job.id, JobCommand.PAUSE)
    await jobs.command(job.id, JobCommand.RESUME)
    await asyncio.wait_for(jobs.wait_for_work(60), 10)
