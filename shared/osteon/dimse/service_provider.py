"""The DIMSE services of an acceptor: which operation a command set begins, and how many run at once (PS3.7 8 and 9)."""

from typing import Protocol

from osteon.dimse.c_find import FindOperation
from osteon.dimse.c_move_get import GetOperation, MoveOperation, RetrieveOperation
from osteon.dimse.c_store import EchoOperation, StoreOperation
from osteon.dimse.command import RESPONSE, Command, CommandField
from osteon.dimse.handler import AssociationHandler, Outcome
from osteon.dimse.message import DataSetTarget, DiscardTarget
from osteon.dimse.n_action import ActionOperation
from osteon.dimse.n_event_report import EventReportOperation
from osteon.dimse.negotiation import AcceptedContext
from osteon.dimse.operation import DimseOperation, OperationContext
from osteon.dimse.pdu import AbortReason, ProtocolError
from osteon.dimse.sop_classes import ServiceClass
from osteon.dimse.status import Status

_RESPONDING: dict[ServiceClass, type[FindOperation | MoveOperation | GetOperation]] = {
    ServiceClass.QUERY: FindOperation,
    ServiceClass.MOVE: MoveOperation,
    ServiceClass.GET: GetOperation,
}
_SERVICE_OF: dict[int, ServiceClass] = {
    CommandField.C_ECHO_RQ: ServiceClass.VERIFICATION,
    CommandField.C_STORE_RQ: ServiceClass.STORAGE,
    CommandField.C_FIND_RQ: ServiceClass.QUERY,
    CommandField.C_MOVE_RQ: ServiceClass.MOVE,
    CommandField.C_GET_RQ: ServiceClass.GET,
    CommandField.N_ACTION_RQ: ServiceClass.COMMITMENT,
}


class MessageLimits(Protocol):
    """What of a configuration operations need."""

    @property
    def max_command(self) -> int:
        """Bytes of a command set at most."""

    @property
    def max_information(self) -> int:
        """Bytes of Action Information that is kept in memory at most."""

    @property
    def max_identifier(self) -> int:
        """Bytes of a data set that is kept in memory at most."""


class ServiceProvider:
    """Begins operations and knows those in flight.

    Args:
        peer: the association.
        handler: does the work.
        config: limits.
        window: operations that may be in flight.
    """

    def __init__(self, peer: OperationContext, handler: AssociationHandler, config: MessageLimits, window: int) -> None:
        self._peer = peer
        self._handler = handler
        self._config = config
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
        """Begin what a command set asks for, or refuse; return where its data set goes. Raises `ProtocolError`."""
        if command.field & RESPONSE:
            raise ProtocolError(f"response {command.field:04X}H to nothing", AbortReason.UNEXPECTED_PARAMETER)
        if command.field == CommandField.C_CANCEL_RQ:
            self._cancel(command.message_id)
            return DiscardTarget()
        if command.message_id in self._operations:
            return _Stray(self._peer, accepted.context, command).refuse(Outcome(Status.DUPLICATE_INVOCATION))
        if self.full:
            excess = Outcome(Status.RESOURCE_LIMITATION, "more operations at once than were negotiated")
            return _Stray(self._peer, accepted.context, command).refuse(excess)
        return self._start(accepted, command)

    def finish_operation(self, operation: DimseOperation) -> None:
        """Forget an operation whose last response is on its way."""
        if self._operations.get(operation.message_id) is operation:
            del self._operations[operation.message_id]

    def stop(self) -> None:
        """The association has ended or is about to: stop what only its peer wants."""
        for operation in list(self._operations.values()):
            operation.on_association_end()

    def _start(self, accepted: AcceptedContext, command: Command) -> DimseOperation:
        context, peer = accepted.context, self._peer
        if command.field == CommandField.N_EVENT_REPORT_RQ:
            report = EventReportOperation(peer, context, command, self._config.max_identifier)
            self._operations[report.message_id] = report
            return report.start(self._handler)
        service = _SERVICE_OF.get(command.field)
        operation: EchoOperation | StoreOperation | FindOperation | RetrieveOperation | ActionOperation
        if service is None:
            return self._refuse(accepted, command, Status.UNRECOGNIZED_OPERATION, f"{command.field:04X}H")
        if service is not accepted.service:
            return self._refuse(accepted, command, Status.SOP_CLASS_NOT_SUPPORTED, "wrong presentation context")
        if service is ServiceClass.VERIFICATION:
            operation = EchoOperation(peer, context, command)
        elif service is ServiceClass.STORAGE:
            operation = StoreOperation(peer, context, command)
        elif service is ServiceClass.COMMITMENT:
            operation = ActionOperation(peer, context, command, self._config.max_information)
        else:
            operation = _RESPONDING[service](peer, context, command, self._config.max_identifier)
        self._operations[operation.message_id] = operation
        return operation.start(self._handler)

    def _refuse(self, accepted: AcceptedContext, command: Command, status: Status, comment: str) -> DimseOperation:
        operation = DimseOperation(self._peer, accepted.context, command)
        self._operations[operation.message_id] = operation
        return operation.refuse(Outcome(status, comment))

    def _cancel(self, message_id: int) -> None:
        operation = self._operations.get(message_id)
        if operation is not None:
            operation.cancel()


class _Stray(DimseOperation):
    """A request under a Message ID that is in use, or one too many: it is not in the list of those in flight."""
