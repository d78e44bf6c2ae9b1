"""The way of one association into the spool: a sink for each C-STORE, packs sealed in time, all sealed at the end."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from osteon import metrics
from osteon.contracts.packs import Origin
from osteon.dimse.handler import AssociationInfo, Outcome, PresentationContext, StoreRequest
from osteon.errors import OsteonError
from osteon.packs.refusal import count_refusal
from osteon.spool.admission import Admission
from osteon.spool.arrival import Arrivals
from osteon.spool.committer import Committer
from osteon.spool.disk import Disk
from osteon.spool.folders import Folder
from osteon.spool.instance import Announced
from osteon.spool.memory import Memory
from osteon.spool.open_packs import Limits, OpenPacks, Sender
from osteon.spool.pack import PackFile
from osteon.spool.sealed import SealedPack
from osteon.spool.sink import InstanceSink, outcome_of


@dataclass(frozen=True, slots=True)
class Parts:
    """What all associations of a spool share."""

    folder: Folder
    limits: Limits
    disk: Disk
    committer: Committer
    memory: Memory
    admission: Admission
    arrivals: Arrivals
    sealed: Callable[[SealedPack], None]
    broken: Callable[[PackFile], None]


class Intake:
    """Made by `Spool.intake`, one an association; `close` it when the association has ended."""

    def __init__(self, association: AssociationInfo, parts: Parts) -> None:
        sender = Sender(association.id, association.calling_aet, association.remote_host, association.traceparent)
        self.packs = OpenPacks(parts.folder.root, parts.folder.path, sender, parts.limits, parts.disk)
        self._calling_aet = association.calling_aet
        self._parts = parts
        self._lane = parts.committer.lane(self.packs, self._committed)
        self._timer: asyncio.TimerHandle | None = None
        self._counted = 0
        self._closed = False

    def begin(self, request: StoreRequest, context: PresentationContext) -> InstanceSink | Outcome:
        """Begin a C-STORE; refuses it at once when the spool has no room."""
        try:
            self._parts.admission.check()
        except (OsteonError, OSError) as error:
            count_refusal(Origin.DIMSE, error)
            return outcome_of(error)
        announced = Announced(
            request.sop_class_uid.rstrip("\0 "),
            request.sop_instance_uid.rstrip("\0 "),
            context.transfer_syntax,
            self._calling_aet,
            int(time.time()),
        )
        return InstanceSink(announced, self.packs, self._lane, self._parts.memory, self._parts.arrivals)

    async def close(self) -> None:
        """Seal what is open. On return it is in the outbox."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._lane.submit(self.packs.seal_all)

    def _committed(self) -> None:
        written = self.packs.written
        self._parts.admission.received(written - self._counted)
        self._counted = written
        while self.packs.sealed:
            pack, reason = self.packs.sealed.popleft()
            metrics.PACKS_SEALED.labels(reason=reason.value).inc()
            self._parts.arrivals.expect(pack.pack_id)
            self._parts.sealed(pack)
        while self.packs.broken:
            self._parts.broken(self.packs.broken.popleft())
        self._arm()

    def _arm(self) -> None:
        due = self.packs.next_due
        if self._timer is not None or due is None or self._closed:
            return
        delay = max(0.0, due - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._seal_due)

    def _seal_due(self) -> None:
        self._timer = None
        self._lane.submit(self.packs.seal_due)
