"""Finds resources that stopped growing, and routes those studies: in every replica, once for each."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

from osteon import metrics
from osteon.errors import Unavailable
from osteon.index.port import Index
from osteon.logging import get_logger
from osteon.rules.port import CircuitState
from osteon_dispatcher.routing import Router

_MAX_PAUSE = 5.0
_LIMIT = 500
_STATES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}

log = get_logger(__name__)


async def sweep_forever(index: Index, router: Router, stable_age: float) -> None:
    """Sweep every few seconds, sooner when resources are stable sooner; all replicas do, none waits for another."""
    pause = max(0.1, min(_MAX_PAUSE, stable_age / 4))
    while True:
        try:
            await sweep(index, router, stable_age)
        except Unavailable as error:
            log.warning("stability sweep failed, retrying", reason=str(error))
        except Exception:
            log.exception("stability sweep failed unexpectedly")
        await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - no secret


async def sweep(index: Index, router: Router, stable_age: float) -> None:
    """Log what is stable now, route it, show the state of destinations. Raises `Unavailable`."""
    while await index.stability.mark_stable(datetime.now(UTC) - timedelta(seconds=stable_age), limit=_LIMIT) == _LIMIT:
        pass
    while await router.route_stable_studies():
        pass
    await set_gauges(index)


async def set_gauges(index: Index) -> None:
    """Set the metric of the state of each destination that has failed; the others have none."""
    now = datetime.now(UTC)
    found = {circuit.destination: _STATES[circuit.state(now)] for circuit in await index.circuits.all()}
    metrics.DESTINATION_STATE.clear()
    for destination, state in found.items():
        metrics.DESTINATION_STATE.labels(destination=destination).set(state)
