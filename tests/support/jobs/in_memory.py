"""Jobs in memory, for tests of kinds and of those who submit jobs: nothing runs them but the test."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from osteon.jobs.port import Job, JobCommand, JobNotFound, JobState


class FakeJobs:
    """What of `osteon.jobs.port.Jobs` submitters use."""

    def __init__(self) -> None:
        self.all: dict[str, Job] = {}
        self._keys: dict[str, str] = {}

    async def submit(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        content: Mapping[str, Any] | None = None,
        priority: int = 0,
        key: str | None = None,
        due: datetime | None = None,
    ) -> Job:
        if key in self._keys:
            return self.all[self._keys[key]]
        now = datetime.now(UTC)
        job = Job(
            id=f"job-{len(self.all) + 1}", type=type, state=JobState.PENDING, priority=priority, params=dict(params),
            content=content or {}, created=now, due=due or now,
        )  # fmt: skip
        self.put(job)
        if key is not None:
            self._keys[key] = job.id
        return job

    async def get(self, job_id: str) -> Job:
        if job_id not in self.all:
            raise JobNotFound(job_id)
        return self.all[job_id]

    async def command(self, job_id: str, command: JobCommand) -> Job:
        assert command is JobCommand.RESUBMIT
        assert self.all[job_id].state is JobState.FAILURE
        self.put(replace(self.all[job_id], state=JobState.PENDING))
        return self.all[job_id]

    def put(self, job: Job) -> None:
        self.all[job.id] = job


class FakeRun:
    """A run of a job."""

    def __init__(self, jobs: FakeJobs, job: Job) -> None:
        self._jobs = jobs
        self.job = job

    async def save(self, **changed: Any) -> None:
        self.job = replace(self.job, **{name: value for name, value in changed.items() if value is not None})
        self._jobs.put(self.job)
