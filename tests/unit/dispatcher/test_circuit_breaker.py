"""The circuit breaker: a destination that does not answer is not called, tried by one job, and served again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon.dimse.errors import ConnectFailed
from osteon.errors import DatabaseUnavailable, Invalid
from osteon.index.sql import SqlIndex
from osteon.jobs.port import Job, JobState
from osteon.jobs.run import JobRun, JobType
from osteon.remotes.job_params import ModalityStoreParams, PeerStoreParams
from osteon.rules.port import CircuitState
from osteon_dispatcher.circuit_breaker import CircuitBreaker, CircuitOpen, guarded
from support.index.stored_packs import sqlite_url

NOW = datetime.now(UTC)


class Work:
    """Fails with what `error` is."""

    def __init__(self) -> None:
        self.runs = 0
        self.error: Exception | None = ConnectFailed("no route")

    async def __call__(self, _: object) -> None:
        self.runs += 1
        if self.error:
            raise self.error


class BreakerRun:
    """A breaker that opens after 3 failures, before two kinds of jobs."""

    def __init__(self, index: SqlIndex, seconds: float = 3600) -> None:
        self.index = index
        self.work = Work()
        self.breaker = CircuitBreaker(index.circuits, 3, seconds)
        kinds = {name: JobType(self.work, 60) for name in (ModalityStoreParams.TYPE, PeerStoreParams.TYPE, "Other")}
        self.kinds = guarded(kinds, self.breaker)

    async def run(self, name: str = "ai", type: str = ModalityStoreParams.TYPE) -> None:
        params = {"modality": name, "peer": name, "resources": []}
        job = Job(id="j", type=type, state=JobState.RUNNING, params=params, created=NOW, due=NOW)
        await self.kinds[type].work(JobRun(self.index.jobs, job, "w", 30))

    async def fail(self, times: int, name: str = "ai", type: str = ModalityStoreParams.TYPE) -> None:
        for _ in range(times):
            with pytest.raises(ConnectFailed):
                await self.run(name, type)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqlIndex]:
    opened = SqlIndex(sqlite_url(tmp_path / "i.db"))
    await opened.start()
    yield opened
    await opened.close()


async def test_after_some_failures_a_destination_is_not_called_any_more(index):
    room = BreakerRun(index)
    await room.fail(3)
    with pytest.raises(CircuitOpen, match="circuit of modality:ai is open after 3 failures: no route"):
        await room.run()
    assert room.work.runs == 3


async def test_other_destinations_and_other_jobs_go_on(index):
    room = BreakerRun(index)
    await room.fail(3)
    await room.fail(1, "pacs")
    await room.fail(1, "ai", PeerStoreParams.TYPE)
    with pytest.raises(ConnectFailed):
        await room.run("ai", "Other")


async def test_a_success_between_failures_begins_the_count_anew(index):
    room = BreakerRun(index)
    await room.fail(2)
    room.work.error = None
    await room.run()
    room.work.error = ConnectFailed("again")
    await room.fail(2)
    assert (await index.circuits.get("modality:ai")).state(datetime.now(UTC)) is CircuitState.CLOSED


async def test_when_it_is_time_one_job_tries_and_a_success_lets_all_others_in(index):
    room = BreakerRun(index, seconds=0.001)
    await room.fail(3)
    await asyncio.sleep(0.01)
    room.work.error = None
    await room.breaker.before_call("modality:ai")
    with pytest.raises(CircuitOpen):
        await room.run()
    await room.breaker.record_success("modality:ai")
    await room.run()
    assert await index.circuits.get("modality:ai") is None


async def test_each_further_failure_doubles_the_time_up_to_a_limit(index):
    room = BreakerRun(index, seconds=10)
    pauses = []
    for _ in range(10):
        await room.breaker.record_failure("modality:ai", ConnectFailed("x"))
        circuit = await index.circuits.get("modality:ai")
        pauses.append(circuit.retry and round((circuit.retry - datetime.now(UTC)) / timedelta(seconds=1), -1))
        if circuit.retry:
            await index.circuits.open("modality:ai", NOW)  # that time is over
    assert pauses == [None, None, 10, 20, 40, 80, 160, 300, 300, 300]


async def test_failures_of_jobs_that_were_on_their_way_do_not_make_it_last_longer(index):
    room = BreakerRun(index, seconds=10)
    await asyncio.gather(*(room.fail(1) for _ in range(3)))
    first = await index.circuits.get("modality:ai")
    for _ in range(5):
        await room.breaker.record_failure("modality:ai", ConnectFailed("x"))
    assert await index.circuits.get("modality:ai") == first


@pytest.mark.parametrize("error", [DatabaseUnavailable("x"), Invalid("refused")], ids=repr)
async def test_what_is_not_the_destinations_fault_is_not_counted(index, error):
    room = BreakerRun(index)
    room.work.error = error
    for _ in range(4):
        with pytest.raises(type(error)):
            await room.run()
    assert await index.circuits.get("modality:ai") is None
