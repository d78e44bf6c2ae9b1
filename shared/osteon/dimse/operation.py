"""One DIMSE operation that the peer has invoked, from its command set to its last response (PS3.7 9.1)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Protocol

from osteon.dicom.uids import MAX_UID_LENGTH
from osteon.dimse.command import Command, CommandElement, encode_response
from osteon.dimse.handler import AssociationHandler, Outcome, PresentationContext
from osteon.dimse.service_user import ServiceUser
from osteon.dimse.status import Status
from osteon.logging import get_logger

INTERNAL_ERROR = Outcome(Status.PROCESSING_FAILURE, "internal error")
log = get_logger(__name__)


class MessageLimits(Protocol):
    """The limits that messages and operations have: a part of the configuration of acceptors and requestors."""

    @property
    def max_command(self) -> int:
        """Bytes of a command set at most."""

    @property
    def max_information(self) -> int:
        """Bytes of Action Information that is kept in memory at most."""

    @property
    def max_identifier(self) -> int:
        """Bytes of any other data set that is kept in memory at most."""

    @property
    def progress_repeat(self) -> float:
        """Seconds after which the last counts of C-MOVE and C-GET are sent again."""


class OperationContext(Protocol):
    """What an operation needs of its association."""

    @property
    def handler(self) -> AssociationHandler:
        """Performs operations."""

    @property
    def limits(self) -> MessageLimits:
        """Limits of the association."""

    @property
    def user(self) -> ServiceUser | None:
        """Sends the peer sub-operations and event reports; None when this side has none to send."""

    def send_message(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        """Send a whole message; nothing when there is no association."""

    async def drain(self) -> None:
        """Wait until the peer has read enough of what was sent."""

    def spawn(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Run something that `AssociationHandler.closed` has to wait for."""

    def finish_operation(self, operation: "DimseOperation") -> None:
        """Forget an operation whose last response is on its way."""


class DimseOperation:
    """An operation, and the target of its data set, which it discards: the base of the others, and what refuses."""

    name = ""
    """The operation's name in PS3.7, for logs and comments."""

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command) -> None:
        self._peer = peer
        self._command = command
        self._refusal: Outcome | None = None
        self.context = context
        self.message_id = command.message_id
        self.sop_class_uid = command.sop_class_uid

    def start(self) -> None:
        """Begin, or refuse."""

    def write(self, data: memoryview) -> Awaitable[None] | None:  # noqa: ARG002  # as in DataSetTarget
        """Discard a part of the data set."""
        return None

    def end(self) -> None:
        """The data set has passed: answer now what was refused."""
        if self._refusal is not None:
            self.respond(self._refusal)

    def abort(self) -> None:
        """Finish without an answer: the data set will not be completed."""
        self._peer.finish_operation(self)

    def cancel(self) -> None:
        """The peer has sent C-CANCEL; most operations cannot be cancelled."""

    def on_association_end(self) -> None:
        """The association has ended; the operation's message, if incomplete, is aborted apart."""

    def refuse(self, outcome: Outcome) -> None:
        """Answer with `outcome` as soon as the data set has passed."""
        self._refusal = outcome
        if not self._command.has_data_set:
            self.respond(outcome)

    def respond(self, outcome: Outcome) -> None:
        """Send the last response."""
        self._send(outcome)
        self._peer.finish_operation(self)

    async def _perform(self, handle: Callable[[], Awaitable[Outcome]]) -> None:
        """Have the handler do it, and respond with its outcome."""
        try:
            outcome = await handle()
        except Exception:
            log.exception("operation failed", operation=self.name, sop_instance_uid=self._command.sop_instance_uid)
            outcome = INTERNAL_ERROR
        await self._peer.drain()
        self.respond(outcome)

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
    """An operation whose data set is kept in memory until it is complete."""

    too_long = Status.OUT_OF_RESOURCES
    """The answer to a data set longer than `limit`."""

    @property
    def limit(self) -> int:
        """Bytes of its data set at most."""
        return self._peer.limits.max_identifier

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command) -> None:
        super().__init__(peer, context, command)
        self._collected = bytearray()

    def check(self) -> Outcome | None:
        """Return why the command set is refused, or None."""
        raise NotImplementedError

    def perform(self, data_set: bytes) -> None:
        """Begin, with the whole data set; it is empty when the request has none."""
        raise NotImplementedError

    def start(self) -> None:
        """Refuse, or wait for the data set."""
        refusal = self.check()
        if refusal is not None:
            self.refuse(refusal)
        elif not self._command.has_data_set:
            self.perform(b"")

    def write(self, data: memoryview) -> None:
        """Keep a part of the data set, unless the operation is refused."""
        if self._refusal is None:
            self._collected += data
            if len(self._collected) > self.limit:
                self._collected.clear()
                self.refuse(Outcome(self.too_long, f"data set of more than {self.limit} bytes"))

    def end(self) -> None:
        """Perform the operation, or answer why it is refused."""
        if self._refusal is not None:
            super().end()
        else:
            self.perform(bytes(self._collected))
