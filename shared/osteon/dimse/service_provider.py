"""The DIMSE services of an acceptor: which operation a command set begins, and how many run at once (PS3.7 8 and 9)."""

from collections.abc import Mapping

from osteon.dimse.c_find import FindOperation
from osteon.dimse.c_move_get import GetOperation, MoveOperation
from osteon.dimse.c_store import EchoOperation, StoreOperation
from osteon.dimse.command import RESPONSE, Command, CommandField
from osteon.dimse.handler import Outcome
from osteon.dimse.message import DataSetTarget, DiscardTarget
from osteon.dimse.n_action import ActionOperation
from osteon.dimse.n_event_report import EventReportOperation
from osteon.dimse.negotiation import AcceptedContext
from osteon.dimse.operation import DimseOperation, OperationContext
from osteon.dimse.pdu import AbortReason, ProtocolError
from osteon.dimse.sop_classes import ServiceClass
from osteon.dimse.status import Status

OPERATIONS: Mapping[int, tuple[ServiceClass | None, type[DimseOperation]]] = {
    CommandField.C_ECHO_RQ: (ServiceClass.VERIFICATION, EchoOperation),
    CommandField.C_STORE_RQ: (ServiceClass.STORAGE, StoreOperation),
    CommandField.C_FIND_RQ: (ServiceClass.QUERY, FindOperation),
    CommandField.C_MOVE_RQ: (ServiceClass.MOVE, MoveOperation),
    CommandField.C_GET_RQ: (ServiceClass.GET, GetOperation),
    CommandField.N_ACTION_RQ: (ServiceClass.COMMITMENT, ActionOperation),
    CommandField.N_EVENT_REPORT_RQ: (None, EventReportOperation),
}
"""Command Field → service class of the presentation context (None: any), and the operation."""


class ServiceProvider:
    """Begins operations and knows those in flight.

    Args:
        peer: the association.
        window: operations that may be in flight.
    """

    def __init__(self, peer: OperationContext, window: int) -> None:
        self._peer = peer
        self._window = window
        self._operations: dict[int, DimseOperation] = {}

    @property
    def busy(self) -> bool:
        """Operations are in flight."""
        return bool(self._operations)

    @property
    def full(self) -> bool:
        """No further operation may begin now."""
        return len(self._operations) >= self._window

    @property
    def sending(self) -> bool:
        """A C-GET is in flight: it waits for answers of the peer, which may come behind further requests."""
        return any(isinstance(operation, GetOperation) for operation in self._operations.values())

    def begin(self, accepted: AcceptedContext, command: Command) -> DataSetTarget:
        """Begin what a command set requests, or refuse; return where its data set goes. Raises `ProtocolError`."""
        if command.field & RESPONSE:
            raise ProtocolError(f"response {command.field:04X}H to nothing", AbortReason.UNEXPECTED_PARAMETER)
        if command.field == CommandField.C_CANCEL_RQ:
            if (running := self._operations.get(command.message_id)) is not None:
                running.cancel()
            return DiscardTarget()
        if command.message_id in self._operations or self.full:
            duplicate = command.message_id in self._operations
            excess = Outcome(Status.RESOURCE_LIMITATION, "more operations at once than were negotiated")
            # Not in the list of those in flight: its Message ID is in use, or it is one too many.
            stray = DimseOperation(self._peer, accepted.context, command)
            stray.refuse(Outcome(Status.DUPLICATE_INVOCATION) if duplicate else excess)
            return stray
        service, kind = OPERATIONS.get(command.field, (None, DimseOperation))
        operation = kind(self._peer, accepted.context, command)
        self._operations[operation.message_id] = operation
        if kind is DimseOperation:
            operation.refuse(Outcome(Status.UNRECOGNIZED_OPERATION, f"{command.field:04X}H"))
        elif service not in {None, accepted.service}:
            operation.refuse(Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "wrong presentation context"))
        else:
            operation.start()
        return operation

    def finish_operation(self, operation: DimseOperation) -> None:
        """Forget an operation whose last response is on its way."""
        if self._operations.get(operation.message_id) is operation:
            del self._operations[operation.message_id]

    def stop(self) -> None:
        """The association has ended or is about to: stop what nothing but a response would come of."""
        for operation in list(self._operations.values()):
            operation.on_association_end()
