"""N-ACTION as SCP (PS3.7 10.1.4), for the one SOP class here that has it: Storage Commitment Push Model (PS3.4 J)."""

from functools import partial

from osteon.dimse.command import CommandElement
from osteon.dimse.handler import ActionRequest, Outcome
from osteon.dimse.operation import BufferedOperation
from osteon.dimse.sop_classes import COMMITMENT_INSTANCE
from osteon.dimse.status import Status

REQUEST = 1
"""Action Type ID of a request for storage commitment."""


class ActionOperation(BufferedOperation):
    """An N-ACTION: collects the Action Information, then passes it to the handler."""

    name = "N-ACTION"
    too_long = Status.RESOURCE_LIMITATION

    @property
    def limit(self) -> int:
        """Bytes of Action Information at most."""
        return self._peer.limits.max_information

    def check(self) -> Outcome | None:
        """Return why the request is refused: it is not one for storage commitment, or has no Action Information."""
        if self.sop_class_uid != self.context.abstract_syntax:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context")
        if self._command.text(CommandElement.REQUESTED_SOP_INSTANCE_UID) != COMMITMENT_INSTANCE:
            return Outcome(Status.NO_SUCH_SOP_INSTANCE, f"(0000,1001) is not {COMMITMENT_INSTANCE}")
        if self._command.number(CommandElement.ACTION_TYPE_ID) != REQUEST:
            return Outcome(Status.NO_SUCH_ACTION_TYPE, f"(0000,1008) is not {REQUEST}")
        if not self._command.has_data_set:
            return Outcome(Status.INVALID_ARGUMENT_VALUE, "N-ACTION without Action Information")
        return None

    def perform(self, data_set: bytes) -> None:
        """Pass the request to the handler."""
        request = ActionRequest(self.message_id, self.context, data_set)
        self._peer.spawn(self._perform(partial(self._peer.handler.action, request, self._peer.user)))
