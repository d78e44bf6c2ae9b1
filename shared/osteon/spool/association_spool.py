"""The spool of one association: a sink for each C-STORE, packs sealed in time, all of them sealed at the end."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from osteon import metrics
from osteon.contracts.packs import Origin
from osteon.dimse.handler import AssociationInfo, Outcome, PresentationContext, StoreRequest
from osteon.errors import OsteonError
from osteon.packs.refusal import count_refusal
from osteon.spool.ack_policy import AckPolicy
from osteon.spool.admission import Admission
from osteon.spool.buffer_pool import BufferPool
from osteon.spool.disk import Disk
from osteon.spool.folders import SpoolFolder
from osteon.spool.group_commit import GroupCommitter
from osteon.spool.incoming_instance import IncomingInstance
from osteon.spool.open_packs import OpenPacks, PackLimits, PackSender
from osteon.spool.pack_file import PackFile
from osteon.spool.sealed_pack import SealedPack
from osteon.spool.sink import InstanceSink, outcome_of


@dataclass(frozen=True, slots=True)
class SpoolContext:
    """What all associations of a spool share."""

    folder: SpoolFolder
    limits: PackLimits
    disk: Disk
    committer: GroupCommitter
    buffers: BufferPool
    admission: Admission
    ack_policy: AckPolicy
    on_sealed: Callable[[SealedPack], None]
    on_broken: Callable[[PackFile], None]


class AssociationSpool:
    """Made by `Spool.open_association`; end it with `Spool.close_association`."""

    def __init__(self, association: AssociationInfo, context: SpoolContext) -> None:
        sender = PackSender(association.id, association.calling_aet, association.remote_host, association.traceparent)
        self.packs = OpenPacks(context.folder.root, context.folder.path, sender, context.limits, context.disk)
        self._calling_aet = association.calling_aet
        self._context = context
        self._queue = context.committer.queue(self.packs, self._on_commit)
        self._timer: asyncio.TimerHandle | None = None
        self._admitted = 0
        self._closed = False

    def begin(self, request: StoreRequest, context: PresentationContext) -> InstanceSink | Outcome:
        """Begin a C-STORE; refuse it at once when the spool has no room."""
        try:
            self._context.admission.check()
        except (OsteonError, OSError) as error:
            count_refusal(Origin.DIMSE, error)
            return outcome_of(error)
        instance = IncomingInstance(
            request.sop_class_uid.rstrip("\0 "),
            request.sop_instance_uid.rstrip("\0 "),
            context.transfer_syntax,
            self._calling_aet,
            int(time.time()),
        )
        return InstanceSink(instance, self.packs, self._queue, self._context.buffers, self._context.ack_policy)

    async def close(self) -> None:
        """Seal what is open. On return it is in the outbox."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._queue.submit(self.packs.seal_all)

    def _on_commit(self) -> None:
        written = self.packs.written
        self._context.admission.add(written - self._admitted)
        self._admitted = written
        while self.packs.sealed:
            pack, reason = self.packs.sealed.popleft()
            metrics.PACKS_SEALED.labels(reason=reason.value).inc()
            self._context.ack_policy.expect(pack.pack_id)
            self._context.on_sealed(pack)
        while self.packs.broken:
            self._context.on_broken(self.packs.broken.popleft())
        self._start_timer()

    def _start_timer(self) -> None:
        due = self.packs.next_due
        if self._timer is not None or due is None or self._closed:
            return
        delay = max(0.0, due - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._seal_due)

    def _seal_due(self) -> None:
        self._timer = None
        self._queue.submit(self.packs.seal_due)
