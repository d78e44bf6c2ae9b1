"""`DicomMoveScp`: the job of a C-MOVE that somebody asked for (PS3.4 C.4.2.2), each instance sent at least once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

from pydantic import ConfigDict, Field

from osteon.contracts.retrieve import PlannedInstance, RetrieveRequest
from osteon.dimse.errors import AssociationRejected
from osteon.errors import Invalid, OsteonError, Unavailable
from osteon.index.port import Index, IndexUnavailable, Location
from osteon.jobs.run import Run
from osteon.logging import get_logger
from osteon.remotes.orders import Order
from osteon.sending.accounting import Sent
from osteon_dispatcher.bells import Bells
from osteon_dispatcher.keeping import keeping
from osteon_dispatcher.moved import Moved
from osteon_dispatcher.outgoing.modality import Stores
from osteon_dispatcher.plan import PAGE, planned, understand

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a destination that has vanished is tried again; the last one repeats."""
_LAST_SAVE: Final = 3.0
log = get_logger(__name__)


class MoveOrder(Order):
    """What the job is told."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    TYPE: ClassVar[str] = "DicomMoveScp"

    correlation_id: str
    modality: str = Field(description="Name of the destination.")
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes
    originator_aet: str
    originator_id: int
    total: int


class Incomplete(Invalid):
    """Some instances could not be moved."""


async def move(run: Run, *, stores: Stores, bells: Bells, patience: float) -> None:
    """Send what is left; a destination that vanishes is tried again for `patience` seconds.

    Raises `Incomplete` when instances failed, `Stopped` when it was cancelled, `IndexUnavailable`.
    """
    stop = bells.begin(run.job.id)
    moving = _Moving(run, stores, bells, stop, patience)
    try:
        await moving.run()
    except asyncio.CancelledError:
        # The runner stops it: what was sent until now is to be told, and not to be sent again.
        with suppress(OsteonError, TimeoutError):
            async with asyncio.timeout(_LAST_SAVE):
                await moving.save()
        raise
    finally:
        bells.end(run.job.id)


class _Moving:
    """One run of the job."""

    def __init__(self, run: Run, stores: Stores, bells: Bells, stop: asyncio.Event, patience: float) -> None:
        self._run, self._stores, self._bells, self._stop, self._patience = run, stores, bells, stop, patience
        self._order = MoveOrder.model_validate(run.job.params)
        self._moved = Moved.of(self._order.total, run.job.checkpoint)
        if self._moved.done:  # resubmitted: all again
            self._moved = Moved(self._order.total)
        self._open: deque[tuple[str | None, tuple[str, int]]] = deque()
        self._got_on = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Send until all is sent, or the destination was away for too long."""
        tally, pauses = self._moved.tally, deque(_PAUSES)
        while True:
            done = tally.done
            try:
                await self._send()
                break
            except IndexUnavailable:
                raise
            except Unavailable as error:
                if tally.done != done:
                    pauses = deque(_PAUSES)
                hopeless = isinstance(error, AssociationRejected) and error.permanent
                if hopeless or asyncio.get_running_loop().time() - self._got_on + pauses[0] > self._patience:
                    await self._give_up(str(error))
                    break
                log.warning("move interrupted", job=self._run.job.id, error=str(error))
                await self.save()
                await self._pause(pauses.popleft() if len(pauses) > 1 else pauses[0])
        tally.remaining = 0
        self._moved.done = True
        await self.save()
        if tally.failed:
            raise Incomplete(f"{tally.failed} of {self._order.total} instances were not moved: {tally.comment}")

    async def save(self) -> None:
        """Keep the checkpoint, and show how far it is."""
        tally = self._moved.tally
        progress = min(100, 100 * tally.done // (self._order.total or 1))
        content = {**self._run.job.content, **self._moved.content}
        try:
            await self._run.save(progress=progress, content=content, checkpoint=self._moved.checkpoint)
        finally:
            self._bells.ring(self._run.job.id)

    async def _send(self) -> None:
        modality = await self._stores.index.remotes.modality(self._order.modality)
        self._open.clear()
        deliver = partial(
            self._stores.sending.deliver,
            self._stores.connect(modality),
            move_originator=(self._order.originator_aet, self._order.originator_id),
            transcode=modality.allow_transcoding,
            way="c-move",
        )
        async with aclosing(keeping(deliver(self._instances()), self.save)) as results:
            async for sent in results:
                self._count(sent)
                if self._stop.is_set():
                    await self.save()

    def _count(self, sent: Sent) -> None:
        self._moved.page, self._moved.last = self._open.popleft()
        self._moved.tally.add(sent)
        self._got_on = asyncio.get_running_loop().time()
        if sent.reason:
            log.warning("instance not moved", correlation_id=self._order.correlation_id, job=self._run.job.id,
                        instance=sent.instance.sop_instance_uid, reason=sent.reason)  # fmt: skip

    async def _instances(self) -> AsyncIterator[PlannedInstance]:
        """Give what is left, from the checkpoint on."""
        after = self._moved.last
        async for page, locations in _pages(self._order, self._stores.index, self._moved.page):
            for location in _behind(locations, after):
                self._open.append((page, (location.key, location.offset)))
                yield planned(location)
            after = None

    async def _give_up(self, reason: str) -> None:
        """Count what is left as failed, and name it."""
        async for instance in self._instances():
            self._moved.tally.add(Sent(instance, None, reason))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
                await self.save()


async def _pages(
    order: MoveOrder, index: Index, cursor: str | None
) -> AsyncIterator[tuple[str | None, Sequence[Location]]]:
    """Yield the pages of the plan from a cursor on, each behind its own cursor."""
    request = RetrieveRequest(
        correlation_id=order.correlation_id,
        sop_class_uid=order.sop_class_uid,
        transfer_syntax_uid=order.transfer_syntax_uid,
        identifier=order.identifier,
    )
    search = replace(understand(request), limit=PAGE)
    while True:
        page = await index.located(replace(search, cursor=cursor))
        yield cursor, page.locations
        if page.cursor is None:
            return
        cursor = page.cursor


def _behind(locations: Sequence[Location], last: tuple[str, int] | None) -> Sequence[Location]:
    """Return what comes after the one that was sent last; all, when that one is not there any more."""
    places = [(location.key, location.offset) for location in locations]
    return locations[places.index(last) + 1 :] if last in places else locations
