"""What becomes of a job when a run of it has ended."""

import random
from datetime import datetime, timedelta
from typing import Final

from osteon.errors import DatabaseUnavailable, Invalid, NotFound, OsteonError, Unavailable
from osteon.jobs.error_codes import ErrorCode, code_of
from osteon.jobs.port import Job, JobCommand, JobOutcome, JobState
from osteon.jobs.run import JobStopped

MAX_FAULTS: Final = 3
"""Unexpected ends of runs, deaths of workers among them, after which a job is not tried again."""
FIRST_RETRY: Final = 1.0
"""Seconds before a job is run again for the first time; then twice as many each time."""
_SLOWEST_RETRY: Final = 300.0
_MAX_ERROR: Final = 2000


class LeaseExpired(OsteonError):
    """The lease could not be renewed in time: the database does not answer."""


class FaultsExhausted(Invalid):
    """The runs of a job have ended unexpectedly too often."""


def outcome_of(
    job: Job, error: Exception | None, *, patience: float, now: datetime, first_retry: float = FIRST_RETRY
) -> JobOutcome:
    """Return how a run has ended whose work raised `error`, or returned."""
    if error is None:
        return JobOutcome(state=JobState.SUCCESS)
    if isinstance(error, LeaseExpired):
        return JobOutcome(state=JobState.PENDING)
    if isinstance(error, JobStopped):
        if error.command is JobCommand.PAUSE:
            return JobOutcome(state=JobState.PAUSED)
        return JobOutcome(state=JobState.FAILURE, error_code=ErrorCode.CANCELED_JOB.value)
    fault = not isinstance(error, Unavailable | Invalid | NotFound)
    due = _next_try(job, error, patience, now, first_retry)
    text = f"{type(error).__name__}: {error}" if fault else str(error)
    return JobOutcome(
        state=JobState.FAILURE if due is None else JobState.RETRY,
        error_code=code_of(error).value,
        # An error may quote what a peer sent: surrogates and NUL, which no database takes, are left out.
        error=text[:_MAX_ERROR].encode("utf-8", "replace").decode().replace("\0", ""),
        due=due,
        fault=fault,
    )


def _next_try(job: Job, error: Exception, patience: float, now: datetime, first_retry: float) -> datetime | None:
    """Return when the job is run again, None when that would be useless."""
    seconds = min(_SLOWEST_RETRY, first_retry * 2 ** min(job.attempts - 1, 16))
    later = now + timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
    if isinstance(error, DatabaseUnavailable):  # says nothing about what the job is patient with
        return later
    if isinstance(error, Unavailable):
        own = job.params.get("patience")
        seconds = float(own) if isinstance(own, int | float) else patience
        until = (job.since or job.created) + timedelta(seconds=seconds)
        return min(later, until) if now < until else None
    hopeless = isinstance(error, Invalid | NotFound) or job.faults >= MAX_FAULTS
    return None if hopeless else later
