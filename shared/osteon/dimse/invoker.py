"""Requests that this side makes and their responses (PS3.7 7.5 and 8): the same for requestor and acceptor."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from osteon.dimse.command import RESPONSE, Command, CommandElement, CommandField, encode_cancel, encode_request
from osteon.dimse.errors import RequestorError
from osteon.dimse.handler import PresentationContext
from osteon.dimse.message import DataSetTarget, DiscardTarget
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.pdu import AbortReason, ProtocolError
from osteon.dimse.sender import MessageSender
from osteon.dimse.status import Status

_CANCELLABLE = {CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ, CommandField.C_GET_RQ}
_MOST_QUEUED = 64
"""Responses that wait to be taken before nothing more is read."""
_MOST_QUEUED_BYTES = 1 << 20


class InvokerAssociation(Protocol):
    """What an invoker needs of its association."""

    def abort(self, how: AssociationEnd, detail: str = "") -> None:
        """Send A-ABORT."""

    def invoker_changed(self) -> None:
        """A response was taken, or an operation has been sent or is over: what was on hold may continue."""


@dataclass(frozen=True, slots=True)
class DimseResponse:
    """A response and its data set, if it has one."""

    command: Command
    status: Status
    data_set: bytes | None


class Invocation:
    """An operation that the peer performs for us: one response, or pending ones and a final one."""

    def __init__(self, invoker: "Invoker", context: PresentationContext, field: CommandField, message_id: int) -> None:
        self.context = context
        self.field = field
        self.message_id = message_id
        self.sent = False
        """All of the request has been sent."""
        self.over = False
        """The final response has come."""
        self.abandoned = False
        """Its responses are not taken any more."""
        self._invoker = invoker
        self._responses: deque[DimseResponse] = deque()
        self._news = asyncio.Event()

    async def response(self) -> DimseResponse:
        """Return the next response. Raises `RequestorError` when none will come."""
        while not self._responses:
            self._invoker.check()
            self._news.clear()
            await self._news.wait()
        response = self._responses.popleft()
        self._invoker.taken(response)
        return response

    def deliver(self, response: DimseResponse) -> None:
        """Queue a response for `response`."""
        self._responses.append(response)
        self._news.set()

    def wake(self) -> None:
        """Make `response` check again: the association has ended."""
        self._news.set()

    def forget(self) -> None:
        """Drop what was not taken."""
        self.abandoned = True
        while self._responses:
            self._invoker.taken(self._responses.popleft())


class Invoker:
    """Makes requests, gives them Message IDs and finds the request that a response is for.

    Args:
        association: theirs.
        sender: writes the messages.
        window: operations that may be in flight; further ones wait for their turn (PS3.7 D.3.3.3).
        max_data_set: bytes; a response with a longer one aborts the association.
    """

    def __init__(self, association: InvokerAssociation, sender: MessageSender, window: int, max_data_set: int) -> None:
        self.sender = sender
        self.last_message_id = 0
        """Message ID of the latest request; after 65535 comes 1."""
        self._association = association
        self._window = window
        self._max_data_set = max_data_set
        self._open: dict[int, Invocation] = {}
        self._error: RequestorError | None = None
        self._turn = asyncio.Event()
        self._queued = self._queued_bytes = 0

    # What the association calls.

    @property
    def busy(self) -> bool:
        """Operations are in flight."""
        return bool(self._open)

    @property
    def awaiting(self) -> bool:
        """The peer has all of a request and has not answered it."""
        return not self.full and any(invocation.sent for invocation in self._open.values())

    @property
    def full(self) -> bool:
        """Too many responses wait to be taken."""
        return self._queued >= _MOST_QUEUED or self._queued_bytes >= _MOST_QUEUED_BYTES

    def begin(self, context: PresentationContext, command: Command) -> DataSetTarget | None:
        """Take a response; return where its data set goes, or None for "not now". Raises `ProtocolError`."""
        invocation = self._open.get(command.message_id)
        if invocation is None or command.field != invocation.field | RESPONSE or context != invocation.context:
            raise ProtocolError(f"response {command.field:04X}H to nothing", AbortReason.UNEXPECTED_PARAMETER)
        status = Status(command.require(CommandElement.STATUS))
        if status.is_pending and invocation.field not in _CANCELLABLE:
            raise ProtocolError(f"pending response to {invocation.field.name}", AbortReason.UNEXPECTED_PARAMETER)
        if self.full and status.is_pending and not invocation.abandoned:
            return None
        if command.has_data_set and not invocation.abandoned:
            return None if self.full else _ResponseCollector(self, invocation, command, status, self._max_data_set)
        self.answered(invocation, DimseResponse(command, status, None))
        return DiscardTarget()

    def answered(self, invocation: Invocation, response: DimseResponse) -> None:
        """Deliver a complete response; a final one ends its operation."""
        if not response.status.is_pending:
            invocation.over = True
            self._open.pop(invocation.message_id, None)
            self._turn.set()
        if not invocation.abandoned:
            self._queued += 1
            self._queued_bytes += len(response.data_set or b"")
            invocation.deliver(response)

    def lost(self, error: RequestorError) -> None:
        """The association has ended: so has every operation."""
        self._error = self._error or error
        self._turn.set()
        for invocation in self._open.values():
            invocation.wake()
        self._open.clear()

    # What `ServiceUser` calls.

    def check(self) -> None:
        """Raise why there will be no responses any more, if so."""
        if self._error is not None:
            raise self._error.with_traceback(None)

    def taken(self, response: DimseResponse) -> None:
        """A response was taken out of its queue."""
        self._queued -= 1
        self._queued_bytes -= len(response.data_set or b"")
        self._association.invoker_changed()

    async def quiet(self) -> None:
        """Wait until no operation is in flight, or the association has ended."""
        while self._open:
            self._turn.clear()
            await self._turn.wait()

    @asynccontextmanager
    async def invoke(
        self,
        context: PresentationContext,
        field: CommandField,
        values: Mapping[CommandElement, int | str],
        data_set: bytes | AsyncIterable[bytes | memoryview] | None = None,
    ) -> AsyncIterator[Invocation]:
        """Make a request once its turn has come, and receive its responses within the block.

        Leaving the block before the final response cancels what can be cancelled (PS3.7 9.3.2.3). Raises
        `RequestorError`; when `data_set` raises half-way, the association is aborted.
        """
        invocation = await self._begin(context, field)
        try:
            command = encode_request(field, invocation.message_id, values, data_set=data_set is not None)
            await self._send(invocation, command, data_set)
            yield invocation
        finally:
            self._leave(invocation)

    async def _begin(self, context: PresentationContext, field: CommandField) -> Invocation:
        while self._error is None and len(self._open) >= self._window:
            self._turn.clear()
            await self._turn.wait()
        self.check()
        message_id = self.last_message_id % 0xFFFF + 1
        while message_id in self._open:
            message_id = message_id % 0xFFFF + 1
        self.last_message_id = message_id
        invocation = self._open[message_id] = Invocation(self, context, field, message_id)
        return invocation

    async def _send(
        self, invocation: Invocation, command: bytes, data_set: bytes | AsyncIterable[bytes | memoryview] | None
    ) -> None:
        context_id = invocation.context.context_id
        if data_set is None or isinstance(data_set, bytes):
            await self.sender.idle()
            self.sender.send(context_id, command, data_set)
        else:
            await self.sender.stream(context_id, command, data_set)
        invocation.sent = True
        self._association.invoker_changed()

    def _leave(self, invocation: Invocation) -> None:
        if not invocation.over and self._error is None:
            if not invocation.sent:
                self._open.pop(invocation.message_id, None)
                self._turn.set()
                if self.sender.torn:
                    self._association.abort(AssociationEnd.FAILED, "a data set could not be sent to its end")
            elif invocation.field in _CANCELLABLE:
                self.sender.send(invocation.context.context_id, encode_cancel(invocation.message_id))
        invocation.forget()


class _ResponseCollector:
    """The target of a response's data set: keeps it in memory."""

    def __init__(self, invoker: Invoker, invocation: Invocation, command: Command, status: Status, limit: int) -> None:
        self._invoker, self._invocation = invoker, invocation
        self._command, self._status, self._limit = command, status, limit
        self._data = bytearray()

    def write(self, data: memoryview) -> None:
        """Keep it. Raises `ProtocolError` when it is too much."""
        self._data += data
        if len(self._data) > self._limit:
            raise ProtocolError(f"data set of a response of more than {self._limit} bytes")

    def end(self) -> None:
        """Deliver the response with its data set."""
        self._invoker.answered(self._invocation, DimseResponse(self._command, self._status, bytes(self._data)))

    def abort(self) -> None:
        """The association has ended, which is reported to the invoker separately."""
