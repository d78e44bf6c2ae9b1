"""A circuit breaker for each destination: one that does not answer is not called for a while, then tried by one job.

The state is in the index, one truth for all replicas: each would otherwise have to find out for itself, with its own
workers, and REST could not show it. It costs a look at a small table for each run of a job.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from osteon.bus.port import BusUnavailable
from osteon.errors import DatabaseUnavailable, Invalid, Unavailable
from osteon.jobs.run import JobRun, JobType
from osteon.logging import get_logger
from osteon.objects.port import ObjectsUnavailable
from osteon.remotes.job_params import ModalityStoreParams, PeerStoreParams
from osteon.rules.port import Circuits, Destination, DestinationKind
from osteon_dispatcher.store_jobs.send_run import SendIncomplete

_MAX_PAUSE: Final = 300.0
_PROBE: Final = timedelta(seconds=60)
"""For so long one job alone may try a destination again; then the next one may."""
_LOCAL_FAILURES: Final = (BusUnavailable, DatabaseUnavailable, ObjectsUnavailable, SendIncomplete)
"""Says nothing about whether the destination can be reached."""

log = get_logger(__name__)


class CircuitOpen(Unavailable):
    """The destination did not answer lately; nothing is sent to it for a while."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Opens after `failures` runs, one after the other, that did not reach a destination.

    Attributes:
        seconds: for which it stays open; twice that after each further failure, up to five minutes.
    """

    circuits: Circuits
    failures: int
    seconds: float

    async def before_call(self, destination: str) -> None:
        """Return when the destination works, or when it is time to try it again; raises `CircuitOpen`."""
        circuit = await self.circuits.get(destination)
        if circuit is None or circuit.retry is None:
            return
        now = datetime.now(UTC)
        if not await self.circuits.probe(destination, now, now + _PROBE):
            raise CircuitOpen(f"circuit of {destination} is open after {circuit.failures} failures: {circuit.error}")

    async def record_failure(self, destination: str, error: Unavailable) -> None:
        """Count a failure; open the circuit when there are too many.

        Jobs that were on their way when it opened do not keep it open for longer.
        """
        now = datetime.now(UTC)
        known = await self.circuits.get(destination)
        if known is not None and known.retry is not None and known.retry > now:
            return
        count = await self.circuits.failed(destination, str(error), now)
        if count >= self.failures:
            pause = min(_MAX_PAUSE, self.seconds * 2.0 ** min(count - self.failures, 32))
            await self.circuits.open(destination, now + timedelta(seconds=pause))
            log.warning("circuit opened", destination=destination, seconds=pause, error=str(error))

    async def record_success(self, destination: str) -> None:
        """Forget earlier failures."""
        if await self.circuits.get(destination) is not None:
            await self.circuits.close(destination)
            log.info("circuit closed", destination=destination)


def guarded(types: Mapping[str, JobType], breaker: CircuitBreaker) -> Mapping[str, JobType]:
    """Return the types of jobs; those that send have the breaker before their work."""
    return {
        name: replace(job_type, work=partial(_guard, work=job_type.work, to=_DESTINATION[name], breaker=breaker))
        if name in _DESTINATION
        else job_type
        for name, job_type in types.items()
    }


async def _guard(
    run: JobRun,
    *,
    work: Callable[[JobRun], Awaitable[None]],
    to: Callable[[Mapping[str, Any]], str],
    breaker: CircuitBreaker,
) -> None:
    destination = to(run.job.params)
    await breaker.before_call(destination)
    try:
        await work(run)
    except _LOCAL_FAILURES:
        raise
    except Unavailable as error:
        await breaker.record_failure(destination, error)
        raise
    except Invalid:  # it was reached, and refuses
        await breaker.record_success(destination)
        raise
    await breaker.record_success(destination)


def _modality(params: Mapping[str, Any]) -> str:
    """Name the modality; a job with an address of its own counts apart, as it says nothing about the modality."""
    known = ModalityStoreParams.model_validate(params)
    named = str(Destination(DestinationKind.MODALITY, known.modality))
    return f"{named} {known.host}:{known.port}" if known.host or known.port else named


def _peer(params: Mapping[str, Any]) -> str:
    return str(Destination(DestinationKind.PEER, PeerStoreParams.model_validate(params).peer))


_DESTINATION: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    ModalityStoreParams.TYPE: _modality,
    PeerStoreParams.TYPE: _peer,
}
