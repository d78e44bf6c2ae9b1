"""Handles each operation of an association."""

from collections.abc import AsyncIterator

from osteon import tracing
from osteon.bus.port import Bus
from osteon.contracts.packs import Origin, PackIndexed, PackSealed
from osteon.dicom.models import WORKLIST_FIND
from osteon.dimse.handler import (
    ActionRequest,
    AssociationInfo,
    EventReport,
    FindRequest,
    FindResponse,
    GetRequest,
    MoveRequest,
    Outcome,
    PresentationContext,
    RefusingHandler,
    Reporter,
    RetrieveResponse,
    StoreRequest,
    StoreSink,
)
from osteon.dimse.status import Status
from osteon.logging import get_logger
from osteon.remotes.port import Permission
from osteon.sending.store_sender import StoreSender
from osteon.spool.sealed_pack import SealedPack
from osteon.spool.spool import Spool
from osteon_ingress.authorization import ModalityAccessList
from osteon_ingress.commitment import AssociationCommitments
from osteon_ingress.dimse_metrics import measure_outcome, measure_responses
from osteon_ingress.find import find, refuse_find
from osteon_ingress.move_progress import MoveProgressInbox
from osteon_ingress.retrieve import get, move, refuse_retrieve
from osteon_ingress.store_metrics import MeasuredSink, SenderCounts, count_outcome

log = get_logger(__name__)


class IngressAssociationHandler(RefusingHandler):
    """Handles the operations of one association."""

    def __init__(
        self,
        info: AssociationInfo,
        spool: Spool,
        bus: Bus,
        access: ModalityAccessList,
        *,
        sender: StoreSender,
        inbox: MoveProgressInbox,
        span: tracing.Span = tracing.NOOP_SPAN,
    ) -> None:
        self._info = info
        self._span = span
        self._sender = sender
        self._inbox = inbox
        self._access = access
        self._spool = spool
        self._bus = bus
        self._intake = spool.open_association(info)
        self._counts: SenderCounts | None = None
        self._commitments = AssociationCommitments(info, bus)

    async def echo(self) -> Outcome:
        """Answer a C-ECHO: success, unless the AE title may not send one."""
        return await measure_outcome("c-echo", self._echo())

    def store(self, request: StoreRequest, context: PresentationContext) -> StoreSink | Outcome:
        """Begin a C-STORE: return a sink of the spool, or the refusal."""
        opened = self._refusal(Permission.STORE) or self._intake.begin(request, context)
        if isinstance(opened, Outcome):
            log.warning("instance refused", correlation_id=self._info.id, instance=request.sop_instance_uid,
                        error=opened.comment)  # fmt: skip
            count_outcome(opened)
            return opened
        self._counts = self._counts or SenderCounts(self._info.calling_aet)
        return MeasuredSink(opened, self._counts)

    def find(self, request: FindRequest) -> AsyncIterator[FindResponse]:
        """Answer a C-FIND of the archive or of the worklist, as `query` finds."""
        worklist = request.context.abstract_syntax == WORKLIST_FIND
        refused = self._refusal(Permission.WORKLIST if worklist else Permission.FIND)
        return measure_responses("c-find", refuse_find(refused) if refused else find(self._info, request, self._bus))

    def move(self, request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        """Answer a C-MOVE, which is a job of `dispatcher`."""
        refused = self._refusal(Permission.MOVE)
        source = refuse_retrieve(refused) if refused else move(self._info, request, self._bus, self._inbox)
        return measure_responses("c-move", source)

    def get(self, request: GetRequest) -> AsyncIterator[RetrieveResponse]:
        """Answer a C-GET from the object store, as `dispatcher` plans."""
        refused = self._refusal(Permission.GET)
        source = refuse_retrieve(refused) if refused else get(self._info, request, self._bus, self._sender)
        return measure_responses("c-get", source)

    async def action(self, request: ActionRequest, reporter: Reporter | None) -> Outcome:
        """Take a request for storage commitment."""
        return await measure_outcome("n-action", self._action(request, reporter))

    async def report(self, report: EventReport) -> Outcome:
        """Take the report about a request for storage commitment that this archive made."""
        return await measure_outcome("n-event-report", self._report(report))

    async def _echo(self) -> Outcome:
        return self._refusal(Permission.ECHO) or Outcome(Status.SUCCESS)

    async def _action(self, request: ActionRequest, reporter: Reporter | None) -> Outcome:
        return self._refusal(Permission.STORAGE_COMMITMENT) or await self._commitments.action(request, reporter)

    async def _report(self, report: EventReport) -> Outcome:
        return self._refusal(Permission.STORAGE_COMMITMENT) or await self._commitments.report(report)

    def _refusal(self, permission: Permission) -> Outcome | None:
        if self._access.allows(self._info, permission):
            return None
        log.warning("not authorized", correlation_id=self._info.id, calling_aet=self._info.calling_aet,
                    permission=permission.value)  # fmt: skip
        return Outcome(Status.NOT_AUTHORIZED, f"{self._info.calling_aet} may not {permission.value} here")

    async def closed(self) -> None:
        """Seal what the association sent."""
        try:
            await self._spool.close_association(self._intake)
        finally:
            await self._commitments.close()
            self._span.end()


async def publish_sealed_pack(pack: SealedPack, bus: Bus, spool_id: str) -> None:
    """Publish to the writers of this spool that a pack is ready; returns once the broker has confirmed."""
    message = PackSealed(
        correlation_id=pack.correlation_id,
        pack_id=pack.pack_id,
        study_uid=pack.study_uid,
        series_uid=pack.series_uid,
        origin=Origin.DIMSE,
        calling_aet=pack.calling_aet,
        remote_host=pack.remote_host,
        received_at=pack.received_at,
        instances=pack.instances,
        size=pack.size,
        spool_id=spool_id,
        path=pack.path,
    )
    about: dict[str, tracing.Attribute] = {
        "osteon.pack": pack.pack_id,
        "osteon.instances": pack.instances,
        "osteon.bytes": pack.size,
    }
    with tracing.span(
        "pack sealed", kind="producer", parent=pack.traceparent, correlation_id=pack.correlation_id, attributes=about
    ):
        await bus.publish(message)
    log.info("pack sealed", pack=pack.pack_id, instances=pack.instances, correlation_id=pack.correlation_id)


async def acknowledge_indexed(message: PackIndexed, spool: Spool) -> None:
    """Release the C-STORE responses that wait for a pack to be indexed."""
    spool.pack_indexed(message.pack_id)
