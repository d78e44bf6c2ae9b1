"""N-EVENT-REPORT as the receiver of the report (PS3.7 10.1.1)."""

from functools import partial

from osteon.dimse.command import CommandElement
from osteon.dimse.handler import EventReport, Outcome
from osteon.dimse.operation import BufferedOperation
from osteon.dimse.status import Status


class EventReportOperation(BufferedOperation):
    """An N-EVENT-REPORT: collects the Event Information, if there is any, then passes it to the handler."""

    name = "N-EVENT-REPORT"

    def check(self) -> Outcome | None:
        """Return why the report is refused: it has no event type."""
        if self._command.number(CommandElement.EVENT_TYPE_ID) is None:
            return Outcome(Status.MISTYPED_ARGUMENT, "no Event Type ID (0000,1002)")
        return None

    def perform(self, data_set: bytes) -> None:
        """Pass the report to the handler."""
        report = EventReport(
            message_id=self.message_id,
            context=self.context,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self._command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID),
            event_type=self._command.require(CommandElement.EVENT_TYPE_ID),
            information=data_set,
        )
        self._peer.spawn(self._perform(partial(self._peer.handler.report, report)))
