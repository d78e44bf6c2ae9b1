"""Runs jobs: claims what is due, keeps its lease, and writes down how it ended.

Any number of runners share the jobs of one index. What a runner that dies was at is claimed by another one when the
lease has run out, and goes on from its checkpoint; so all work is done at least once.
"""

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, Self

from osteon import metrics, tracing
from osteon.backoff import Attempt, retry_forever
from osteon.errors import Unavailable
from osteon.jobs.outcome import FIRST_RETRY, MAX_FAULTS, FaultsExhausted, LeaseExpired, outcome_of
from osteon.jobs.port import Job, JobOutcome, Jobs, JobState, LeaseLost
from osteon.jobs.run import JobRun, JobStopped, JobType
from osteon.logging import get_logger
from osteon.settings import JobSettings

_BEAT: Final = 3.0
"""Seconds between heart-beats at most; so late does work that saves nothing notice that it was paused or cancelled."""
_PRUNE_SECONDS: Final = 600.0
_FIRST_PAUSE, _MAX_PAUSE = 0.2, 2.0
"""Seconds between attempts while the database does not answer."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerConfig:
    """How jobs are run.

    Attributes:
        concurrency: jobs at the same time.
        lease: seconds after which another runner takes over jobs whose lease was not renewed.
        poll: seconds between looks for jobs that other processes submitted.
        grace: seconds that giving jobs back may take when the runner stops.
        keep: jobs that are over and are kept at least.
        keep_seconds: after which further ones are forgotten.
        first_retry: seconds before a job that is not possible now is run again; then twice as many each time.
        count_seconds: between two counts of jobs for metrics.
    """

    concurrency: int = 8
    lease: float = 30.0
    poll: float = 1.0
    grace: float = 10.0
    keep: int = 1000
    keep_seconds: float = 30 * 86_400.0
    first_retry: float = FIRST_RETRY
    count_seconds: float = 15.0

    @classmethod
    def from_settings(cls, settings: JobSettings, concurrency: int) -> Self:
        """Return what the settings say."""
        return cls(
            concurrency=concurrency,
            lease=settings.job_lease_seconds,
            poll=settings.job_poll_seconds,
            keep=settings.job_history,
            keep_seconds=settings.job_history_days * 86_400,
        )


class JobRunner:
    """Runs jobs inside an `async with`; on leaving, those that run are given back to other runners."""

    def __init__(self, jobs: Jobs, types: Mapping[str, JobType], config: RunnerConfig, *, worker: str = "") -> None:
        self._jobs = jobs
        self._types = types
        self._config = config
        self._worker = worker or f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._numbers = count(1)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._loops: list[asyncio.Task[None]] = []
        self._attempts: set[asyncio.Task[None]] = set()
        self._runs: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start."""
        metrics.JOBS_LIMIT.inc(self._config.concurrency)
        counting = self._every(self._config.count_seconds, self._count)
        loops = (self._claim_all(), counting, self._every(_PRUNE_SECONDS, self._prune))
        self._loops = [asyncio.create_task(loop) for loop in loops]
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Stop: no job is begun, and those that run are given back, each with its checkpoint."""
        metrics.JOBS_LIMIT.dec(self._config.concurrency)
        for loop in self._loops:
            loop.cancel()
        _done, hung = await asyncio.wait(self._loops, timeout=self._config.grace)
        for loop in hung:
            loop.cancel()
        for attempt in self._attempts:
            attempt.cancel()
        if self._runs:
            _done, late = await asyncio.wait(self._runs, timeout=self._config.grace)
            for run in late:  # their leases run out
                run.cancel()
            if late:
                log.warning("jobs not given back", jobs=len(late))
                await asyncio.wait(late)

    async def _claim_all(self) -> None:
        while True:
            await self._slots.acquire()
            begun = False
            try:
                async for attempt in self._until_answered("jobs not claimed, retrying"):
                    with attempt:
                        begun = await self._claim()
            except Exception:
                log.exception("claiming a job failed")
                await asyncio.sleep(_MAX_PAUSE)
            finally:
                if not begun:
                    self._slots.release()
            if not begun:
                await self._jobs.wait_for_work(self._config.poll * random.uniform(0.75, 1.25))  # noqa: S311 - no secret

    async def _claim(self) -> bool:
        """Start the next job that is due; return whether there was one. What is claimed is started in any case."""
        worker = f"{self._worker} {next(self._numbers)}"
        claim = asyncio.ensure_future(self._jobs.claim(worker, tuple(self._types), self._config.lease))
        try:
            job = await asyncio.shield(claim)
        except asyncio.CancelledError:
            with suppress(Unavailable, asyncio.CancelledError):
                job = await claim
                if job is not None:
                    await self._jobs.finish(job.id, worker, JobOutcome(state=JobState.PENDING))
            raise
        if job is None:
            return False
        run = asyncio.create_task(self._run(job, worker))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        return True

    async def _run(self, job: Job, worker: str) -> None:
        job_type, run = self._types[job.type], JobRun(self._jobs, job, worker, self._config.lease)
        log.info("job started", job=job.id, type=job.type, attempt=job.attempts)
        attempt = asyncio.create_task(self._attempt(run, job_type))
        self._attempts.add(attempt)
        began = time.monotonic()
        try:
            with metrics.JOBS_RUNNING.track_inprogress():
                await asyncio.wait({attempt})
            end = self._end(run, job_type, attempt)
            if end is not None:
                metrics.JOB_RUN_SECONDS.labels(type=job.type, result=end.state.value).observe(time.monotonic() - began)
                await self._give_back(job, worker, end)
        finally:
            attempt.cancel()
            self._attempts.discard(attempt)
            self._slots.release()

    async def _attempt(self, run: JobRun, job_type: JobType) -> None:
        """Do the work while the lease can be kept; raises what ends it."""
        job = run.job
        about: dict[str, tracing.Attribute] = {"osteon.job": job.id, "osteon.attempt": job.attempts}
        with tracing.span(
            f"job {job.type}", parent=str(job.params.get(tracing.TRACEPARENT_PARAM, "")), attributes=about
        ):
            if job.command is not None:
                raise JobStopped(job.command)
            if job.faults > MAX_FAULTS:
                raise FaultsExhausted(f"its worker ended, or an unexpected error ended it, {job.faults} times")
            work = asyncio.ensure_future(job_type.work(run))
            beat = asyncio.create_task(self._beat(run))
            try:
                await asyncio.wait({work, beat}, return_when=asyncio.FIRST_COMPLETED)
                if work.cancelled():
                    raise RuntimeError("the work was cancelled from within")
                (work if work.done() else beat).result()
            finally:
                work.cancel()
                beat.cancel()
                await asyncio.wait({work, beat})
                _retrieve_errors(work, beat)

    async def _beat(self, run: JobRun) -> None:
        """Renew the lease; raises `JobStopped`, `LeaseLost`, `LeaseExpired`."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(min(_BEAT, self._config.lease / 3))
            try:
                async with asyncio.timeout(self._config.lease):
                    await run.save()
                renewed = time.monotonic()
            except (Unavailable, TimeoutError) as error:
                log.warning("lease not renewed", job=run.job.id, reason=str(error))
                if time.monotonic() - renewed > self._config.lease:
                    raise LeaseExpired("the lease ran out while the database did not answer") from error

    def _end(self, run: JobRun, job_type: JobType, attempt: asyncio.Task[None]) -> JobOutcome | None:
        """Return how a run ended, None when the job is not ours any more."""
        job = run.job
        if attempt.cancelled():
            log.info("job given back", job=job.id, type=job.type)
            return JobOutcome(state=JobState.PENDING)
        error = attempt.exception()
        if isinstance(error, LeaseLost):
            log.warning("job lost", job=job.id, type=job.type, reason=str(error))
            return None
        if error is not None and not isinstance(error, Exception):
            raise error
        end = outcome_of(
            job, error, patience=job_type.patience, now=datetime.now(UTC), first_retry=self._config.first_retry
        )
        if end.fault:
            log.error("job failed unexpectedly", job=job.id, type=job.type, exc_info=error)
        else:
            log.info("job run ended", job=job.id, type=job.type, state=end.state.value, error=end.error)
        return end

    async def _give_back(self, job: Job, worker: str, end: JobOutcome) -> None:
        """Write the end down, as soon as the database takes it."""
        try:
            async for attempt in self._until_answered("job end not written, retrying", job=job.id):
                with attempt:
                    await self._jobs.finish(job.id, worker, end)
        except LeaseLost as error:
            log.warning("job lost", job=job.id, type=job.type, reason=str(error))
        except Exception:  # its lease runs out then
            log.exception("job end not written", job=job.id)

    def _until_answered(self, event: str, **facts: object) -> AsyncIterator[Attempt]:
        """Attempts at what needs the database, each failure logged as `event`."""

        def report(error: Exception) -> None:
            log.warning(event, reason=str(error), **facts)

        return retry_forever(Unavailable, first=_FIRST_PAUSE, longest=_MAX_PAUSE, failed=report)

    async def _every(self, seconds: float, what: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await what()
            except Unavailable as error:
                log.warning("job housekeeping failed, retrying", reason=str(error))
            except Exception:
                log.exception("job housekeeping failed unexpectedly")
            await asyncio.sleep(seconds * random.uniform(0.75, 1.25))  # noqa: S311 - no secret

    async def _count(self) -> None:
        counts = await self._jobs.counts()
        for name in self._types:
            for state in JobState:
                metrics.JOBS.labels(type=name, state=state.value).set(counts.get((name, state), 0))

    async def _prune(self) -> None:
        old = datetime.now(UTC) - timedelta(seconds=self._config.keep_seconds)
        forgotten = await self._jobs.prune(keep=self._config.keep, older_than=old)
        if forgotten:
            log.info("old jobs deleted", jobs=forgotten)


def _retrieve_errors(*tasks: asyncio.Future[None]) -> None:
    """Keep asyncio from complaining about errors of tasks that were cancelled anyway."""
    for task in tasks:
        if not task.cancelled():
            task.exception()
