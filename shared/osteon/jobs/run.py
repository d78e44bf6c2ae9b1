"""One run of a job by one worker, and what a type of job is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from osteon.errors import OsteonError
from osteon.jobs.port import Job, JobCommand, Jobs


class JobStopped(OsteonError):
    """The job was paused or cancelled: leave it as it is. `command` says which."""

    def __init__(self, command: JobCommand) -> None:
        super().__init__(f"the job is to {command.value}")
        self.command = command


class JobRun:
    """A job that is being worked on.

    Attributes:
        job: as it is now, with all that was saved.
    """

    def __init__(self, jobs: Jobs, job: Job, worker: str, lease: float) -> None:
        self.job = job
        self._jobs = jobs
        self._worker = worker
        self._lease = lease

    async def save(
        self,
        *,
        progress: int | None = None,
        content: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> None:
        """Note how far the job is; what is not given stays.

        Args:
            progress: 0 to 100.
            content: all that the API shows of the job.
            checkpoint: all that another worker needs to go on from here.

        Raises:
            Stopped: the job was paused or cancelled. What is given was saved.
            LeaseLost: another worker has the job.
            DatabaseUnavailable: the database does not answer; nothing was saved.
        """
        command = await self._jobs.save(
            self.job.id, self._worker, lease=self._lease, progress=progress, content=content, checkpoint=checkpoint
        )
        job = self.job
        self.job = replace(
            job,
            progress=job.progress if progress is None else progress,
            content=job.content if content is None else content,
            checkpoint=job.checkpoint if checkpoint is None else checkpoint,
        )
        if command is not None:
            raise JobStopped(command)


@dataclass(frozen=True, slots=True)
class JobType:
    """What is done for a type of job.

    Attributes:
        work: does it, from the job's checkpoint on. Returning is SUCCESS; `Unavailable` lets the job be tried again,
            `Invalid` and `NotFound` let it fail.
        patience: seconds since the job was submitted, or resubmitted, after which it is not tried again; a number
            `patience` in the job's params takes precedence.
    """

    work: Callable[[JobRun], Awaitable[None]]
    patience: float
