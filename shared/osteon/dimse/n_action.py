"""N-ACTION as SCP (PS3.7 10.1.4), for the one SOP class here that has it: Storage Commitment Push Model (PS3.4 J)."""

from osteon.dimse.command import Command, CommandElement
from osteon.dimse.handler import ActionRequest, AssociationHandler, Outcome, PresentationContext
from osteon.dimse.operation import BufferedOperation, DimseOperation, OperationContext
from osteon.dimse.sop_classes import COMMITMENT_INSTANCE
from osteon.dimse.status import Status
from osteon.logging import get_logger

REQUEST = 1
"""Action Type ID of a request for storage commitment."""
_FAILED = Outcome(Status.PROCESSING_FAILURE, "internal error")
log = get_logger(__name__)


class ActionOperation(BufferedOperation):
    """An N-ACTION: collects the Action Information, then asks the handler."""

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command, limit: int) -> None:
        super().__init__(peer, context, command, limit, too_long=Status.RESOURCE_LIMITATION)
        self._handler: AssociationHandler | None = None

    def start(self, handler: AssociationHandler) -> DimseOperation:
        """Wait for the Action Information, or refuse."""
        wrong = self._check()
        if wrong is not None:
            return self.refuse(wrong)
        self._handler = handler
        return self

    def _check(self) -> Outcome | None:
        if self.sop_class_uid != self.context.abstract_syntax:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context")
        if self._command.text(CommandElement.REQUESTED_SOP_INSTANCE_UID) != COMMITMENT_INSTANCE:
            return Outcome(Status.NO_SUCH_SOP_INSTANCE, f"(0000,1001) is not {COMMITMENT_INSTANCE}")
        if self._command.number(CommandElement.ACTION_TYPE_ID) != REQUEST:
            return Outcome(Status.NO_SUCH_ACTION_TYPE, f"(0000,1008) is not {REQUEST}")
        if not self._command.has_data_set:
            return Outcome(Status.INVALID_ARGUMENT_VALUE, "N-ACTION without Action Information")
        return None

    def collected(self, data_set: bytes) -> None:
        """Ask."""
        if self._handler is not None:
            self._peer.spawn(self._run(self._handler, ActionRequest(self.message_id, self.context, data_set)))

    async def _run(self, handler: AssociationHandler, request: ActionRequest) -> None:
        try:
            outcome = await handler.action(request, self._peer.user)
        except Exception:
            log.exception("N-ACTION failed")
            outcome = _FAILED
        await self._peer.drain()
        self.respond(outcome)
