"""One DIMSE operation that the peer has invoked, from its command set to its last response (PS3.7 9.1)."""

import asyncio
from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import Protocol

from osteon.dicom.uids import MAX_UID_LENGTH
from osteon.dimse.command import Command, CommandElement, encode_response
from osteon.dimse.handler import Outcome, PresentationContext
from osteon.dimse.message import DiscardTarget
from osteon.dimse.service_user import ServiceUser
from osteon.dimse.status import Status


class OperationContext(Protocol):
    """What an operation needs of its association."""

    @property
    def user(self) -> ServiceUser | None:
        """Asks the peer for sub-operations and sends it event reports; None when this side has none to send."""

    def send_message(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        """Send a whole message; nothing when there is no association."""

    async def drain(self) -> None:
        """Wait until the peer has read enough of what was sent."""

    def spawn(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Run something that `AssociationHandler.closed` has to wait for."""

    def finish_operation(self, operation: "DimseOperation") -> None:
        """The last response of an operation is on its way."""


class DimseOperation(DiscardTarget):
    """An operation whose data set, if it has one, is discarded: the base of the others, and what refuses."""

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command) -> None:
        self._peer = peer
        self._command = command
        self._refusal: Outcome | None = None
        self.context = context
        self.message_id = command.message_id
        self.sop_class_uid = command.sop_class_uid

    def refuse(self, outcome: Outcome) -> "DimseOperation":
        """Answer with `outcome` as soon as the data set has passed."""
        self._refusal = outcome
        if not self._command.has_data_set:
            self.respond(outcome)
        return self

    def end(self) -> None:
        """The data set has passed: answer now what was refused."""
        if self._refusal is not None:
            self.respond(self._refusal)

    def abort(self) -> None:
        """No answer is wanted any more."""
        self._peer.finish_operation(self)

    def cancel(self) -> None:
        """The peer has sent C-CANCEL; most operations cannot be cancelled."""

    def on_association_end(self) -> None:
        """The association has ended; the operation's message, if incomplete, is aborted apart."""

    def respond(self, outcome: Outcome) -> None:
        """Send the last response."""
        self._send(outcome)
        self._peer.finish_operation(self)

    def _send(
        self,
        outcome: Outcome,
        data_set: bytes | None = None,
        counts: Mapping[CommandElement, int] = MappingProxyType({}),
    ) -> None:
        # What a response repeats of a request is no longer than a UID, whatever came.
        command = encode_response(
            self._command.field,
            self.message_id,
            outcome.status,
            sop_class_uid=self.sop_class_uid[:MAX_UID_LENGTH],
            sop_instance_uid=self._command.sop_instance_uid[:MAX_UID_LENGTH],
            comment=outcome.comment,
            data_set=data_set is not None,
            counts=counts,
        )
        self._peer.send_message(self.context.context_id, command, data_set)


class BufferedOperation(DimseOperation):
    """An operation whose data set is kept in memory, up to `limit` bytes, until it is complete."""

    def __init__(
        self,
        peer: OperationContext,
        context: PresentationContext,
        command: Command,
        limit: int,
        too_long: Status = Status.OUT_OF_RESOURCES,
    ) -> None:
        super().__init__(peer, context, command)
        self._limit = limit
        self._too_long = too_long
        self._collected = bytearray()

    def write(self, data: memoryview) -> None:
        """Keep it."""
        if self._refusal is None:
            self._collected += data
            if len(self._collected) > self._limit:
                self._collected.clear()
                self.refuse(Outcome(self._too_long, f"data set of more than {self._limit} bytes"))

    def end(self) -> None:
        """Go on with all of it."""
        if self._refusal is not None:
            super().end()
        else:
            self.collected(bytes(self._collected))

    def collected(self, data_set: bytes) -> None:
        """The data set is complete."""
        raise NotImplementedError
