"""Progress of a C-MOVE as events, to the `ingress` whose requester waits for it."""

import asyncio
from contextlib import suppress
from typing import Final

from osteon.bus.port import Bus, BusUnavailable
from osteon.contracts.retrieve import MoveProgressed
from osteon.logging import get_logger

_LAST_SECONDS: Final = 3.0
"""For the last event of a run; `ingress` polls when it was lost."""
log = get_logger(__name__)


class ProgressPublisher:
    """Publishes the latest progress of one job, never more than one event at a time.

    A broker that does not answer must not hold up the sending: what is reported meanwhile replaces what waits.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._latest: MoveProgressed | None = None
        self._publishing: asyncio.Task[None] | None = None

    def report(self, progress: MoveProgressed) -> None:
        """Publish soon."""
        self._latest = progress
        if self._publishing is None or self._publishing.done():
            self._publishing = asyncio.create_task(self._publish())

    async def close(self) -> None:
        """Wait for what is on its way, but not for long."""
        if self._publishing is not None:
            await asyncio.wait({self._publishing}, timeout=_LAST_SECONDS)
            self._publishing.cancel()
            with suppress(asyncio.CancelledError):
                await self._publishing

    async def _publish(self) -> None:
        while self._latest is not None:
            progress, self._latest = self._latest, None
            try:
                await self._bus.publish(progress)
            except BusUnavailable as error:
                log.warning("C-MOVE progress not published", correlation_id=progress.correlation_id, error=str(error))
