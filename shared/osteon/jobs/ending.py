"""What becomes of a job when a run of it has ended."""

import random
from datetime import datetime, timedelta
from typing import Final

from osteon.errors import DatabaseUnavailable, Invalid, NotFound, OsteonError, Unavailable
from osteon.jobs.codes import ErrorCode, code_of
from osteon.jobs.port import End, Job, JobState, Wish
from osteon.jobs.run import Stopped

MAX_FAULTS: Final = 3
"""Unexpected ends of runs, deaths of workers among them, after which a job is not tried again."""
_FIRST_RETRY: Final = 1.0
_SLOWEST_RETRY: Final = 300.0
_MAX_ERROR: Final = 2000


class Lapsed(OsteonError):
    """The lease could not be renewed in time: the database does not answer."""


class Exhausted(Invalid):
    """The runs of a job have ended unexpectedly too often."""


def end_of(job: Job, error: Exception | None, *, patience: float, now: datetime) -> End:
    """Return how a run has ended whose work raised `error`, or returned."""
    if error is None:
        return End(state=JobState.SUCCESS)
    if isinstance(error, Lapsed):
        return End(state=JobState.PENDING)
    if isinstance(error, Stopped):
        return _stopped(error.wish)
    fault = not isinstance(error, Unavailable | Invalid | NotFound)
    due = _next_try(job, error, patience, now)
    words = f"{type(error).__name__}: {error}" if fault else str(error)
    return End(
        state=JobState.FAILURE if due is None else JobState.RETRY,
        error_code=code_of(error).value,
        error=_storable(words),
        due=due,
        fault=fault,
    )


def _next_try(job: Job, error: Exception, patience: float, now: datetime) -> datetime | None:
    later = now + _delay(job.attempts)
    if isinstance(error, DatabaseUnavailable):  # says nothing about what the job is patient with
        return later
    if isinstance(error, Unavailable):
        until = (job.since or job.created) + timedelta(seconds=_patience(job, patience))
        return min(later, until) if now < until else None
    hopeless = isinstance(error, Invalid | NotFound) or job.faults >= MAX_FAULTS
    return None if hopeless else later


def _storable(words: str) -> str:
    """Leave out what no database takes: an error may quote what a peer sent."""
    return words[:_MAX_ERROR].encode("utf-8", "replace").decode().replace("\0", "")


def _stopped(wish: Wish) -> End:
    if wish is Wish.PAUSE:
        return End(state=JobState.PAUSED)
    return End(state=JobState.FAILURE, error_code=ErrorCode.CANCELED_JOB.value)


def _patience(job: Job, usual: float) -> float:
    own = job.params.get("patience")
    return float(own) if isinstance(own, int | float) else usual


def _delay(attempts: int) -> timedelta:
    seconds = min(_SLOWEST_RETRY, _FIRST_RETRY * 2 ** min(attempts - 1, 16))
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
