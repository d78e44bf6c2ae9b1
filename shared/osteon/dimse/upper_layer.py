"""The upper layer of one connection: its state machine and its timers (PS3.8 9.2)."""

import asyncio
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Protocol

from osteon.dimse import pdu
from osteon.dimse.fsm import OPEN_STATES, Action, State, action_for, describe_state, describe_unexpected
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.pdu import AbortReason, AbortSource, PduType, ProtocolError
from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.stream import SLICE_STEPS, BodyHandling, PduStream
from osteon.dimse.timer import RestartableTimer
from osteon.dimse.tls import describe_failure
from osteon.dimse.transport import TransportConnection
from osteon.logging import get_logger

LONGEST_CONTROL_PDU = 512 << 10
"""Bytes of an A-ASSOCIATE PDU at most: room for 128 contexts of every transfer syntax."""
LEAST_PROGRESS = 4 << 10
"""Bytes of a message that must come in each DIMSE timeout, unless it ends."""
PDU_PROGRESS = 64 << 10
"""Bytes of a PDU that must come in each PDU timeout, unless it ends."""
_MANY_STEPS = 32
"""A read of fewer headers and fragments costs no more than the reading itself."""
_ANSWER_STEPS = 15
"""What an answer costs, in fragments."""
_NO_PDU = -1
_TIMED_STATES = {
    State.AWAITING_REQUEST,
    State.AWAITING_ANSWER,
    State.CLOSING,
    State.RELEASING,
    State.COLLISION_AS_ACCEPTOR,
    State.COLLISION_AWAITING_PEER,
}
_ASSOCIATE = {Action.INDICATE_ASSOCIATE, Action.CONFIRM_ACCEPT, Action.CONFIRM_REJECT}
log = get_logger(__name__)


class _Waiting(Enum):
    """What an open association waits for."""

    PEER_TO_READ = 1
    OURSELVES = 2
    REST_OF_MESSAGE = 3
    ANSWER = 4
    ANYTHING = 5


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts of an association, in seconds: ARTIM, for a message or response, for everything else, for a PDU."""

    artim: float
    dimse: float
    network: float
    pdu: float


class AssociationEvents(Protocol):
    """What an association does at its beginning and its end."""

    def on_connected(self) -> None:
        """The connection is open and waits for A-ASSOCIATE-RQ (Sta2), or for its answer (Sta5)."""

    def on_associate(self, kind: PduType, body: bytes) -> None:
        """A-ASSOCIATE-RQ has come in Sta2, or A-ASSOCIATE-AC or -RJ in Sta5: call `establish`, `reject` or `end`."""

    def on_ended(self, how: AssociationEnd, detail: str) -> None:
        """The association has ended, or there never was one; called once."""

    def on_disconnected(self) -> None:
        """The connection is closed."""


class MessageFlow(Protocol):
    """What goes over an established association."""

    def on_fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """A part of a presentation data value has come while data are allowed."""

    def on_release(self) -> None:
        """The peer requests release: call `answer_release` once everything is answered."""

    def on_writable(self) -> None:
        """The peer has read enough to be written to again."""

    def message_begun(self) -> bool:
        """A message has begun that is not complete."""

    def busy(self) -> bool:
        """The peer waits for this side."""

    def awaits_answer(self) -> bool:
        """The peer owes a response."""


class UpperLayer:
    """Takes PDUs from its transport connection and runs the state machine.

    Args:
        loop: of the connection.
        timeouts: of the association.
        turns: what the loop reads into, and the order in which connections with much to process proceed.
        events: the association.
        is_requestor: whether this side requests the association.

    Set `messages` before there is an association.
    """

    messages: MessageFlow

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: Timeouts,
        turns: ReadTurns,
        events: AssociationEvents,
        *,
        is_requestor: bool = False,
    ) -> None:
        self.loop = loop
        self.is_requestor = is_requestor
        self.transport = TransportConnection(loop, turns, self)
        self.state = State.IDLE
        self._turns = turns
        self._events = events
        self.timeouts = timeouts
        self._stream = PduStream(self)
        self._timer = RestartableTimer(loop, self._timed_out)
        self._ended = False
        self._pdu_timer = RestartableTimer(loop, self._pdu_timed_out)
        self._timed_pdu = _NO_PDU
        self._timed_from = 0
        self._waits_for: _Waiting | None = None
        self._received_before = 0

    # What the transport connection calls.

    def on_connected(self) -> None:
        """Sta1, event 5: await A-ASSOCIATE-RQ with ARTIM running; or its answer."""
        self._enter(State.AWAITING_ANSWER if self.is_requestor else State.AWAITING_REQUEST)
        self._events.on_connected()

    def feed(self, data: memoryview) -> int:
        """Split bytes into PDUs; return how many were consumed: a slice of them, or until `hold`."""
        try:
            used = self._stream.feed(data)
        except Exception as error:
            self.fail(error)
            used = len(data)
        if (spent := SLICE_STEPS - self._stream.steps_left) >= _MANY_STEPS:
            self._turns.spend(spent)
        return used

    def on_writable(self) -> None:
        """Begin the messages that waited for the peer to read."""
        self.messages.on_writable()

    def on_disconnected(self, error: Exception | None) -> None:
        """Event 17: the connection is closed, so the association is lost unless it has ended."""
        unanswered, self.state = self.state is State.AWAITING_ANSWER, State.IDLE
        self._timer.stop()
        self._pdu_timer.stop()
        detail = describe_failure(error) if error else "the peer closed the connection"
        hint = " instead of answering; are the port and the use of TLS right?" if unanswered and not error else ""
        self._finish(AssociationEnd.LOST, detail + hint)
        self._events.on_disconnected()

    # Reading.

    def hold(self) -> None:
        """Process no further PDU or fragment until `resume`."""
        self._stream.halted = True
        self.transport.hold()

    def resume(self) -> None:
        """Continue after `hold`."""
        self._stream.halted = False
        self.transport.resume()

    def charge(self, steps: int) -> None:
        """Count work beyond a fragment's against the slice (`SLICE_STEPS`) that is being processed."""
        self._stream.steps_left -= steps

    def fail(self, error: Exception) -> None:
        """End the association because of an error in reading; call it where the error was caught."""
        if not isinstance(error, ProtocolError):
            log.exception("association failed", state=self.state.name)
            self.abort(AssociationEnd.FAILED, "internal error")
        elif self.state is State.AWAITING_REQUEST:  # event 19 for what is recognised only after its header
            self.abort(AssociationEnd.PROTOCOL_ERROR, str(error))
        elif self.state is not State.CLOSING:
            self._abort(AbortSource.PROVIDER, error.reason, AssociationEnd.PROTOCOL_ERROR, str(error))
        self._stream.discard_all()

    # The state machine: what `PduStream` calls.

    def begin_pdu(self, kind: PduType, length: int) -> BodyHandling:
        """Decide by Table 9-10; an action that needs the body runs in `end_pdu`."""
        action = action_for(self.state, kind)
        if action in {Action.DATA, Action.DATA_WHILE_RELEASING}:
            return BodyHandling.STREAM
        if action in _ASSOCIATE:
            if length > LONGEST_CONTROL_PDU:
                raise ProtocolError(f"{kind.name} of {length} bytes, expected at most {LONGEST_CONTROL_PDU}")
            return BodyHandling.COLLECT
        if action in {Action.ABORT_AS_PROVIDER, Action.ABORT_AS_USER, Action.ABORT_AGAIN}:
            self._refuse(action, kind)
            return BodyHandling.SKIP
        if action is Action.IGNORE:
            return BodyHandling.SKIP
        if length != 4:
            raise ProtocolError(f"{kind.name} of {length} bytes, expected 4")
        return BodyHandling.COLLECT

    def end_pdu(self, kind: PduType, body: bytes) -> None:
        """Run the action that the state demanded."""
        action = action_for(self.state, kind)
        if action in _ASSOCIATE:
            self._events.on_associate(kind, body)
        elif action is Action.INDICATE_RELEASE:
            self._enter(State.RELEASE_INDICATED)
            self.messages.on_release()
        elif action is Action.CONFIRM_RELEASE:
            self.end(AssociationEnd.RELEASED)
        elif action is Action.COLLIDE and self.is_requestor:
            self._enter(State.COLLISION_AS_REQUESTOR)
            self.messages.on_release()
        elif action is Action.COLLIDE:
            self._enter(State.COLLISION_AS_ACCEPTOR)
        elif action is Action.CONFIRM_COLLIDED_RELEASE:
            self._enter(State.COLLISION_ANSWERING)
            self.answer_release()
        elif action in {Action.INDICATE_ABORT, Action.CLOSE}:
            self.end(AssociationEnd.ABORTED_BY_PEER, pdu.describe_abort(body[2], body[3]))

    def fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """Pass data on, unless the association ended within the PDU."""
        if self.state in OPEN_STATES:
            self.messages.on_fragment(context_id, control, data, end)

    def _refuse(self, action: Action, kind: PduType) -> None:
        self.charge(_ANSWER_STEPS)
        known = kind is not PduType.UNRECOGNIZED
        reason = AbortReason.UNEXPECTED_PDU if known else AbortReason.UNRECOGNIZED_PDU
        detail = describe_unexpected(self.state, kind, self._stream.pdu_type)
        if action is Action.ABORT_AS_PROVIDER:
            self._abort(AbortSource.PROVIDER, reason, AssociationEnd.PROTOCOL_ERROR, detail)
        elif action is Action.ABORT_AS_USER:
            self.abort(AssociationEnd.PROTOCOL_ERROR, detail)
        elif not self.transport.unsent:  # a peer that does not read gets no further answers
            self.transport.send(pdu.abort(AbortSource.PROVIDER, reason))

    # What the local user calls.

    def send(self, *pdus: bytes | memoryview) -> None:
        """Write whole PDUs, or parts of one in order; nothing once the connection is lost."""
        self.transport.send(*pdus)

    async def writable(self) -> None:
        """Wait while the peer does not read what was sent."""
        await self.transport.writable()

    def may_send(self) -> bool:
        """The state allows data (DT-1, AR-7)."""
        open_for_data = self.state is State.ESTABLISHED or self.state is State.RELEASE_INDICATED
        return open_for_data and not self.transport.closing

    def release(self) -> None:
        """Send A-RELEASE-RQ (AR-1)."""
        if self.state is State.ESTABLISHED:
            self.transport.send(pdu.release_rq())
            self._enter(State.RELEASING)

    def answer_release(self) -> None:
        """Confirm the peer's release (AR-4, AR-9)."""
        if self.state is State.COLLISION_AS_REQUESTOR:
            self.transport.send(pdu.release_rp())
            self._enter(State.COLLISION_AWAITING_PEER)
        elif self.state in {State.RELEASE_INDICATED, State.COLLISION_ANSWERING}:
            self.transport.send(pdu.release_rp())
            self._await_close(AssociationEnd.RELEASED)

    def reject(self, answer: bytes) -> None:
        """Send A-ASSOCIATE-RJ (AE-8)."""
        self.transport.send(answer)
        self._await_close(AssociationEnd.REJECTED)

    def establish(self, answer: bytes = b"") -> None:
        """Begin the association: send A-ASSOCIATE-AC (AE-7) as acceptor, nothing as requestor (AE-3)."""
        if answer:
            self.transport.send(answer)
        self._enter(State.ESTABLISHED)

    def abort(self, how: AssociationEnd, detail: str = "") -> None:
        """Send A-ABORT as the service user (AA-1); nothing when there is nothing to abort."""
        if self.state not in {State.IDLE, State.CLOSING}:
            self._abort(AbortSource.USER, AbortReason.NOT_SPECIFIED, how, detail)

    def close(self) -> None:
        """Close the connection without A-RELEASE or A-ABORT."""
        self._enter(State.CLOSING)
        self.transport.abort()

    def end(self, how: AssociationEnd, detail: str = "") -> None:
        """Report the end of the association, or that there is none, and close the connection."""
        self._finish(how, detail)
        self.close()

    def _abort(self, source: AbortSource, reason: AbortReason, how: AssociationEnd, detail: str) -> None:
        self.transport.send(pdu.abort(source, reason))
        self._await_close(how, detail)

    def _await_close(self, how: AssociationEnd, detail: str = "") -> None:
        """Sta13: ignore what still comes until the peer closes or ARTIM expires."""
        held = self._stream.halted
        self._stream.skip_everything()
        self._enter(State.CLOSING)
        self.transport.release_writers()
        self._finish(how, detail)
        if held:
            self.transport.drop_held()

    def _finish(self, how: AssociationEnd, detail: str = "") -> None:
        if not self._ended:
            self._ended = True
            self._events.on_ended(how, detail)

    # Timers and the end.

    def rearm(self) -> None:
        """Start the timer that the present situation demands; those of states run since the state was entered.

        What is under way gets its time once, and again for each `LEAST_PROGRESS` bytes of a message: otherwise a peer
        could keep an association forever by a byte now and then.
        """
        if self.state is State.ESTABLISHED or self.state is State.RELEASE_INDICATED:
            waits_for = self._waiting_for()
            if (
                waits_for is not self._waits_for
                or waits_for in {_Waiting.ANYTHING, _Waiting.ANSWER}
                or (
                    waits_for is _Waiting.REST_OF_MESSAGE
                    and self.transport.received - self._received_before >= LEAST_PROGRESS
                )
            ):
                self._waits_for = waits_for
                self._received_before = self.transport.received
                self._timer.start(self._time_for(waits_for))
            self._time_pdu()

    def _time_pdu(self) -> None:
        """Limit the time of the PDU that has begun; none while it is this side that does not read."""
        stream, received = self._stream, self.transport.received
        if stream.between or stream.halted:
            self._timed_pdu = _NO_PDU
        elif stream.pdus != self._timed_pdu or received - self._timed_from >= PDU_PROGRESS:
            self._timed_pdu, self._timed_from = stream.pdus, received
            self._pdu_timer.start(self.timeouts.pdu)

    def _pdu_timed_out(self) -> None:
        if self.state in OPEN_STATES and self._timed_pdu != _NO_PDU:
            self.abort(AssociationEnd.TIMED_OUT, f"a PDU did not end within {self.timeouts.pdu:g} s")

    def _waiting_for(self) -> _Waiting:
        if self.transport.congested:
            return _Waiting.PEER_TO_READ
        if self._stream.halted and not self.messages.awaits_answer():
            return _Waiting.OURSELVES
        if self.messages.message_begun() or not self._stream.between:
            return _Waiting.REST_OF_MESSAGE
        if self.messages.awaits_answer():
            return _Waiting.ANSWER
        return _Waiting.OURSELVES if self.messages.busy() else _Waiting.ANYTHING

    def _time_for(self, waits_for: _Waiting) -> float:
        if waits_for is _Waiting.OURSELVES:
            return inf
        bounded = waits_for in {_Waiting.REST_OF_MESSAGE, _Waiting.ANSWER}
        return self.timeouts.dimse if bounded else self.timeouts.network

    def _enter(self, state: State) -> None:
        self.state = state
        if state in _TIMED_STATES:
            self._timer.start(self.timeouts.artim)
        else:
            self.rearm()

    def _timed_out(self) -> None:
        if self.state in {State.AWAITING_REQUEST, State.CLOSING}:
            self.end(AssociationEnd.TIMED_OUT, "ARTIM expired")
        elif self.state is State.AWAITING_ANSWER:
            seconds = self.timeouts.artim
            self.abort(AssociationEnd.TIMED_OUT, f"the association request was not answered within {seconds:g} s")
        else:
            self.abort(AssociationEnd.TIMED_OUT, f"no progress in time when {describe_state(self.state)}")
