"""Puts DIMSE messages together: a command set, then its data set, streamed to its target (PS3.7 6.3)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from osteon.dimse import command as commands
from osteon.dimse.command import Command
from osteon.dimse.negotiation import AcceptedContext
from osteon.dimse.pdu import COMMAND, LAST, ProtocolError


class DataSetTarget(Protocol):
    """Where the data set of a message goes. Either `end` or `abort` is called, once."""

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Take the next bytes; valid during the call only. Nothing more is read until what is returned is done."""

    def end(self) -> None:
        """The data set is complete."""

    def abort(self) -> None:
        """The rest will not come."""


class DiscardTarget:
    """Discards the data set of a message that was answered already."""

    def write(self, data: memoryview) -> Awaitable[None] | None:  # noqa: ARG002  # as in DataSetTarget
        """Discard a part."""
        return None

    def end(self) -> None:
        """Do nothing: there is no answer left to give."""

    def abort(self) -> None:
        """Do nothing: there is nothing to clean up."""


class MessageReader:
    """Reassembles messages from fragments; one message at a time, as PS3.7 demands.

    Args:
        contexts: accepted presentation contexts by id.
        begin: called with each complete command set; returns where its data set goes, or None for "not now": then
            reading is on hold until `proceed` has tried again.
        wait: called with what a target's `write` returned: stop reading until it is done.
        max_command: bytes of a command set at most.
    """

    def __init__(
        self,
        contexts: Mapping[int, AcceptedContext],
        begin: Callable[[AcceptedContext, Command], DataSetTarget | None],
        wait: Callable[[Awaitable[None]], None],
        max_command: int,
    ) -> None:
        self._contexts = contexts
        self._begin = begin
        self._wait = wait
        self._max_command = max_command
        self._context_id = 0
        self._command = bytearray()
        self._waiting: tuple[AcceptedContext, Command] | None = None
        self._target: DataSetTarget | None = None

    @property
    def begun(self) -> bool:
        """A message has begun that is not complete."""
        return self._target is not None or bool(self._command)

    @property
    def waiting(self) -> bool:
        """A command set has come that could not begin yet."""
        return self._waiting is not None

    def fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """Take a part of a presentation data value. Raises `ProtocolError`."""
        last = end and bool(control & LAST)
        if control & COMMAND:
            self._take_command(context_id, data, last)
            return
        target = self._target
        if target is None or context_id != self._context_id:
            raise ProtocolError(f"data set fragment on context {context_id} without its command set")
        waiting = target.write(data) if len(data) else None
        if last:
            self._target = None
            target.end()
        elif waiting is not None:
            self._wait(waiting)

    def abort(self) -> None:
        """The message that has begun will not be completed."""
        target, self._target, self._command = self._target, None, bytearray()
        self._waiting = None
        if target is not None:
            target.abort()

    def _take_command(self, context_id: int, data: memoryview, last: bool) -> None:
        if self._target is not None:
            raise ProtocolError("command set fragment within a data set")
        if self._command and context_id != self._context_id:
            raise ProtocolError("command set fragments on two contexts")
        if context_id not in self._contexts:
            raise ProtocolError(f"presentation context {context_id} is not accepted")
        if not last and not data:
            raise ProtocolError("empty command set fragment that is not the last")
        if len(self._command) + len(data) > self._max_command:
            raise ProtocolError(f"command set of more than {self._max_command} bytes")
        self._context_id = context_id
        self._command += data
        if last:
            encoded, self._command = bytes(self._command), bytearray()
            self._waiting = self._contexts[context_id], commands.decode(encoded)
            self.proceed()

    def proceed(self) -> None:
        """Begin the message whose command set has come, if one waits."""
        if self._waiting is None:
            return
        (context, command), self._waiting = self._waiting, None
        target = self._begin(context, command)
        if target is None:
            self._waiting = context, command
        elif command.has_data_set:
            self._target = target
