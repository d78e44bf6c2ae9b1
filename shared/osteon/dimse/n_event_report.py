"""N-EVENT-REPORT as the receiver of the report (PS3.7 10.1.1)."""

from osteon.dimse.command import Command, CommandElement
from osteon.dimse.handler import AssociationHandler, EventReport, Outcome, PresentationContext
from osteon.dimse.operation import BufferedOperation, DimseOperation, OperationContext
from osteon.dimse.status import Status
from osteon.logging import get_logger

_FAILED = Outcome(Status.PROCESSING_FAILURE, "internal error")
log = get_logger(__name__)


class EventReportOperation(BufferedOperation):
    """An N-EVENT-REPORT: collects the Event Information, then passes it to the handler."""

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command, limit: int) -> None:
        super().__init__(peer, context, command, limit)
        self._handler: AssociationHandler | None = None

    def start(self, handler: AssociationHandler) -> DimseOperation:
        """Wait for the Event Information if there is any."""
        self._handler = handler
        if self._command.number(CommandElement.EVENT_TYPE_ID) is None:
            return self.refuse(Outcome(Status.MISTYPED_ARGUMENT, "no Event Type ID (0000,1002)"))
        if not self._command.has_data_set:
            self.collected(b"")
        return self

    def collected(self, data_set: bytes) -> None:
        """Tell."""
        if self._handler is not None:
            report = EventReport(
                message_id=self.message_id,
                context=self.context,
                sop_class_uid=self.sop_class_uid,
                sop_instance_uid=self._command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID),
                event_type=self._command.require(CommandElement.EVENT_TYPE_ID),
                information=data_set,
            )
            self._peer.spawn(self._run(self._handler, report))

    async def _run(self, handler: AssociationHandler, report: EventReport) -> None:
        try:
            outcome = await handler.report(report)
        except Exception:
            log.exception("N-EVENT-REPORT failed", sop_instance_uid=report.sop_instance_uid)
            outcome = _FAILED
        await self._peer.drain()
        self.respond(outcome)
