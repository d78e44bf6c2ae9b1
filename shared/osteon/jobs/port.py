"""Jobs: work that outlives the request and the process that began it. Rows of the index, the same for every replica.

A worker claims a job for a short time (its lease) and renews the lease as it goes on. The job of a worker that died is
claimed by another one when the lease has run out, and goes on from its last checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from osteon.errors import Invalid, NotFound, OsteonError


class JobNotFound(NotFound):
    """No job has this identifier."""


class WrongState(Invalid):
    """A job cannot be paused, resumed, cancelled or resubmitted in the state that it is in."""


class LeaseLost(OsteonError):
    """Another worker has the job now, or it was deleted: stop, and write nothing more."""


class JobState(StrEnum):
    """In Orthanc's words."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILURE = "Failure"
    PAUSED = "Paused"
    RETRY = "Retry"


class JobCommand(StrEnum):
    """What a user wants of a job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RESUBMIT = "resubmit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is now.

    Attributes:
        params: what is to be done, JSON; never changes, and is never shown (it may hold secrets).
        content: what the API shows of it, JSON, in Orthanc's words.
        checkpoint: where another worker goes on, JSON.
        progress: 0 to 100.
        due: not before this time; later than now in the state RETRY.
        since: when it was submitted, resubmitted or resumed last; the patience with it counts from here.
        attempts: runs that were begun since it was submitted or resubmitted.
        faults: how many of them ended with their worker, or with an unexpected error.
        runtime: seconds that workers spent on it.
        command: PAUSE or CANCEL that its worker has not seen yet.
    """

    id: str
    type: str
    state: JobState
    priority: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    progress: int = 0
    created: datetime
    completed: datetime | None = None
    due: datetime
    since: datetime | None = None
    attempts: int = 0
    faults: int = 0
    runtime: float = 0.0
    error_code: int = 0
    error: str = ""
    command: JobCommand | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """How a run ended.

    Attributes:
        state: PENDING gives the job to another worker as if this run had not been; the other states say what they say.
        due: for RETRY.
        fault: this end was unexpected.
    """

    state: JobState
    error_code: int = 0
    error: str = ""
    due: datetime | None = None
    fault: bool = False


class Jobs(Protocol):
    """Every method raises `DatabaseUnavailable` when the database does not answer."""

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
        """Add a job; with a `key` that a job has already, return that one instead."""

    async def get(self, job_id: str) -> Job:
        """Return a job; raises `JobNotFound`."""

    async def list(
        self, *, states: Sequence[JobState] = (), types: Sequence[str] = (), limit: int = 1000
    ) -> Sequence[Job]:
        """Return jobs, the newest first."""

    async def command(self, job_id: str, command: JobCommand) -> Job:
        """Pause, resume, cancel or resubmit; raises `JobNotFound` and `WrongState`.

        To pause or cancel what is over does nothing, as in Orthanc; only what is paused can be resumed, only what
        failed resubmitted: it goes on from its checkpoint.
        """

    async def delete(self, job_id: str) -> None:
        """Forget a job that is over; raises `JobNotFound` and `WrongState`."""

    async def claim(self, worker: str, types: Sequence[str], lease: float) -> Job | None:
        """Take the most urgent job that is due (priority, then age), or one whose worker's lease has run out.

        It is RUNNING then, and no other worker's for `lease` seconds. `worker` names this run: never use it twice.
        """

    async def wait_for_work(self, timeout: float) -> None:
        """Wait until this process submits, resumes or resubmits a job, but no longer than `timeout` seconds."""

    async def counts(self) -> Mapping[tuple[str, JobState], int]:
        """Return how many jobs there are of each type in each state."""

    async def save(
        self,
        job_id: str,
        worker: str,
        *,
        lease: float,
        progress: int | None = None,
        content: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> JobCommand | None:
        """Renew the lease and note how far the job is; return what a user wants of it. Raises `LeaseLost`."""

    async def finish(self, job_id: str, worker: str, end: JobOutcome) -> None:
        """Give the job back; raises `LeaseLost`."""

    async def prune(self, *, keep: int, older_than: datetime) -> int:
        """Forget jobs that ended before `older_than`, but for the newest `keep`; return how many."""
