"""A circuit breaker for each destination: who does not answer is left alone for a while, and then tried by one job.

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
from osteon.jobs.run import Kind, Run
from osteon.logging import get_logger
from osteon.objects.port import ObjectsUnavailable
from osteon.remotes.orders import ModalityStore, PeerStore
from osteon.rules.port import Circuits, Destination, DestinationKind
from osteon_dispatcher.outgoing.passes import NotSentYet

_SLOWEST: Final = 300.0
_PROBE: Final = timedelta(seconds=60)
"""For so long one job alone may try a destination again; then the next one may."""
_OURS: Final = (BusUnavailable, DatabaseUnavailable, ObjectsUnavailable, NotSentYet)
"""Says nothing about whether the destination can be reached."""

log = get_logger(__name__)


class DestinationDown(Unavailable):
    """The destination did not answer lately and is left alone."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after `failures` runs, one after the other, that did not reach a destination.

    Attributes:
        seconds: for which it is left alone; twice that after each further failure, up to five minutes.
    """

    circuits: Circuits
    failures: int
    seconds: float

    async def enter(self, destination: str) -> None:
        """Pass when the destination works, or when it is time to try it again; raises `DestinationDown`."""
        circuit = await self.circuits.get(destination)
        if circuit is None or circuit.retry is None:
            return
        now = datetime.now(UTC)
        if not await self.circuits.probe(destination, now, now + _PROBE):
            raise DestinationDown(f"{destination} is left alone after {circuit.failures} failures: {circuit.error}")

    async def failed(self, destination: str, error: Unavailable) -> None:
        """Count a failure; leave the destination alone when there are too many.

        Jobs that were on their way when it was left alone do not make that last longer.
        """
        now = datetime.now(UTC)
        known = await self.circuits.get(destination)
        if known is not None and known.retry is not None and known.retry > now:
            return
        count = await self.circuits.failed(destination, str(error), now)
        if count >= self.failures:
            pause = min(_SLOWEST, self.seconds * 2.0 ** min(count - self.failures, 32))
            await self.circuits.open(destination, now + timedelta(seconds=pause))
            log.warning("destination left alone", destination=destination, seconds=pause, error=str(error))

    async def worked(self, destination: str) -> None:
        """Forget earlier failures."""
        if await self.circuits.get(destination) is not None:
            await self.circuits.close(destination)
            log.info("destination works again", destination=destination)


def guarded(kinds: Mapping[str, Kind], breaker: Breaker) -> Mapping[str, Kind]:
    """Return the kinds of jobs, those that send with the breaker before them."""
    return {
        name: replace(kind, work=partial(_guard, work=kind.work, to=_DESTINATION[name], breaker=breaker))
        if name in _DESTINATION
        else kind
        for name, kind in kinds.items()
    }


async def _guard(
    run: Run, *, work: Callable[[Run], Awaitable[None]], to: Callable[[Mapping[str, Any]], str], breaker: Breaker
) -> None:
    destination = to(run.job.params)
    await breaker.enter(destination)
    try:
        await work(run)
    except _OURS:
        raise
    except Unavailable as error:
        await breaker.failed(destination, error)
        raise
    except Invalid:  # it was reached, and refuses
        await breaker.worked(destination)
        raise
    await breaker.worked(destination)


def _modality(params: Mapping[str, Any]) -> str:
    """Name the modality; an order may send to another address than its own, which says nothing of it."""
    order = ModalityStore.model_validate(params)
    named = str(Destination(DestinationKind.MODALITY, order.modality))
    return f"{named} {order.host}:{order.port}" if order.host or order.port else named


def _peer(params: Mapping[str, Any]) -> str:
    return str(Destination(DestinationKind.PEER, PeerStore.model_validate(params).peer))


_DESTINATION: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    ModalityStore.TYPE: _modality,
    PeerStore.TYPE: _peer,
}
