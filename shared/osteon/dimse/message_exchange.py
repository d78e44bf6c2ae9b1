"""DIMSE messages of both directions on one association (PS3.7 6 and 8): what requestor and acceptor share.

`ServiceUser` makes requests by way of the `Invoker`, `ServiceProvider` performs those of the peer.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Coroutine

from osteon.dimse.command import RESPONSE, Command, CommandField
from osteon.dimse.errors import AssociationAborted, NoAnswer, RequestorError
from osteon.dimse.fsm import State
from osteon.dimse.handler import AssociationHandler
from osteon.dimse.invoker import Invoker
from osteon.dimse.message import DataSetTarget, MessageReader
from osteon.dimse.negotiation import AcceptedContext, Agreement
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.operation import DimseOperation, MessageLimits
from osteon.dimse.sender import MessageSender
from osteon.dimse.service_provider import ServiceProvider
from osteon.dimse.service_user import ServiceUser
from osteon.dimse.upper_layer import UpperLayer

_COMMAND_STEPS = 15
"""What the beginning of an operation costs, in fragments."""
_RELEASE_TO_ANSWER = {State.RELEASE_INDICATED, State.COLLISION_AS_REQUESTOR}


class MessageExchange:
    """The messages of one association, both ways once `begin` was called."""

    handler: AssociationHandler
    limits: MessageLimits

    def __init__(self, upper_layer: UpperLayer) -> None:
        self._upper_layer = upper_layer
        upper_layer.messages = self
        self.context = contextvars.copy_context()
        """Of everything that the association causes."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.user: ServiceUser | None = None
        """Sends the peer sub-operations and event reports: an acceptor's, once there is an association."""
        self._sender: MessageSender | None = None
        self._reader: MessageReader | None = None
        self._services: ServiceProvider | None = None
        self._invoker: Invoker | None = None

    def begin(
        self, agreement: Agreement, handler: AssociationHandler, limits: MessageLimits, *, performed: int, invoked: int
    ) -> Invoker:
        """Be ready for messages; return what makes requests.

        `performed` and `invoked` are how many operations may be in flight (PS3.7 D.3.3.3).
        """
        self.handler, self.limits = handler, limits
        self._sender = MessageSender(self._upper_layer, agreement.send_limit)
        self._services = ServiceProvider(self, performed)
        self._invoker = Invoker(self, self._sender, invoked, limits.max_identifier)
        self._reader = MessageReader(agreement.contexts, self._begin, self._wait, limits.max_command)
        return self._invoker

    # Messages.

    def on_fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """Pass on what has come."""
        if self._reader is not None:
            self._reader.fragment(context_id, control, data, end)

    def message_begun(self) -> bool:
        """A message has begun that is not complete."""
        return self._reader is not None and self._reader.begun

    def busy(self) -> bool:
        """Operations are in flight."""
        return self._performing or (self._invoker is not None and self._invoker.busy)

    def awaits_answer(self) -> bool:
        """The peer owes a response, and does not wait for one of ours to give it.

        An operation of the requestor's (C-GET) may have sub-operations of the acceptor's within, not the other way.
        """
        if self._invoker is None or not self._invoker.awaiting:
            return False
        return not (self._upper_layer.is_requestor and self._performing)

    @property
    def _performing(self) -> bool:
        return self._services is not None and self._services.busy

    def _begin(self, accepted: AcceptedContext, command: Command) -> DataSetTarget | None:
        self._upper_layer.charge(_COMMAND_STEPS)
        target = self._target(accepted, command)
        if target is None:
            self._upper_layer.hold()
        return target

    def _target(self, accepted: AcceptedContext, command: Command) -> DataSetTarget | None:
        if self._services is None or self._invoker is None or self._sender is None:
            return None
        if command.field & RESPONSE:
            return self._invoker.begin(accepted.context, command)
        full = self._services.full and not self._services.sending
        crowded = full or self._upper_layer.transport.congested or self._sender.crowded
        if crowded and command.field != CommandField.C_CANCEL_RQ:
            return None
        return self.context.copy().run(self._services.begin, accepted, command)

    def _wait(self, waiting: Awaitable[None]) -> None:
        self._upper_layer.hold()
        self.spawn(self._wait_for(waiting))

    async def _wait_for(self, waiting: Awaitable[None]) -> None:
        await waiting
        if self._upper_layer.state is not State.IDLE:
            self._upper_layer.resume()

    def _proceed(self) -> None:
        upper_layer, reader = self._upper_layer, self._reader
        if reader is not None and reader.waiting and upper_layer.state is not State.CLOSING:
            try:
                reader.proceed()
            except Exception as error:
                upper_layer.fail(error)
            if not reader.waiting:
                upper_layer.resume()

    # What operations call.

    def send_message(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        """Send a whole message while the state allows data, after the one that is being sent."""
        if self._sender is not None:
            self._sender.send(context_id, command, data_set)

    async def drain(self) -> None:
        """Wait until a message would be sent at once, to a peer that reads."""
        if self._sender is not None:
            await self._sender.idle()

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run `work`; the handler is closed only after it."""
        task = self._upper_layer.loop.create_task(work, context=self.context.copy())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def finish_operation(self, operation: DimseOperation) -> None:
        """Begin what has waited for its turn, and release when all is answered."""
        if self._services is not None:
            self._services.finish_operation(operation)
            self._continue()

    def abort(self, how: AssociationEnd, detail: str = "") -> None:
        """Abort the association (AA-1)."""
        self._upper_layer.abort(how, detail)

    def invoker_changed(self) -> None:
        """Continue with what waited for a response to be taken."""
        self._continue()

    def _continue(self) -> None:
        if self._upper_layer.state in _RELEASE_TO_ANSWER and not self._performing:
            self._upper_layer.answer_release()
        self._proceed()
        self._upper_layer.rearm()

    def on_writable(self) -> None:
        """Begin what has waited for the peer to read."""
        self._proceed()

    # The end.

    def on_release(self) -> None:
        """Answer what is in flight, then confirm."""
        if self._services is None or self._reader is None:
            return
        self._reader.abort()
        self._services.stop()
        if not self._performing:
            self._upper_layer.answer_release()

    def end(self, how: AssociationEnd, detail: str) -> None:
        """Stop what is in flight."""
        if self._reader is not None:
            self._reader.abort()
        if self._services is not None:
            self._services.stop()
        if self._invoker is not None:
            self._invoker.lost(end_to_error(how, detail))


def end_to_error(how: AssociationEnd, detail: str, remote: str = "") -> RequestorError:
    """Return the error that a caller gets because its association has ended.

    With `remote`, its address, there was none yet.
    """
    words = how.value.replace("_", " ")
    text = f"the association has ended ({words}): {detail}" if detail else f"the association is {words}"
    if remote:
        text = f"{remote}: {detail or words}"
    return NoAnswer(text) if how is AssociationEnd.TIMED_OUT else AssociationAborted(text)
