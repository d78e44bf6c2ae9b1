"""The state machine of one connection (PS3.8 9.2); an association of either side is built on it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TypeVar

from osteon.dimse import pdu
from osteon.dimse.fsm import OPEN_STATES, Action, State, action_for
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.pdu import AbortReason, AbortSource, PduType, ProtocolError
from osteon.dimse.stream import BodyHandling, PduStream
from osteon.dimse.timer import RestartableTimer
from osteon.dimse.tls import describe_failure
from osteon.dimse.transport import TransportConnection
from osteon.logging import get_logger

LONGEST_CONTROL_PDU = 512 << 10
"""Bytes of an A-ASSOCIATE PDU at most: room for 128 contexts of every transfer syntax."""
LEAST_PROGRESS = 4 << 10
"""Bytes of a message that must come in each DIMSE timeout, unless it ends."""
_TIMED_STATES = {
    State.AWAITING_REQUEST,
    State.AWAITING_ANSWER,
    State.CLOSING,
    State.RELEASING,
    State.COLLISION_AS_ACCEPTOR,
    State.COLLISION_AWAITING_PEER,
}
_log = get_logger(__name__)
T = TypeVar("T")


class _Waiting(Enum):
    """What an open association waits for."""

    PEER_TO_READ = 1
    OURSELVES = 2
    REST_OF_MESSAGE = 3
    ANSWER = 4
    ANYTHING = 5


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    artim: float
    dimse: float
    network: float


class UpperLayer(TransportConnection):
    """Reads PDUs, runs the state machine and keeps its timers.

    A subclass says what associations, data, releases and ends mean by overriding the `on_…` methods.
    """

    is_requestor = False

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts, buffer: memoryview) -> None:
        super().__init__(loop, buffer)
        self.state = State.IDLE
        self.timeouts = timeouts
        self._stream = PduStream(self)
        self._watch = RestartableTimer(loop, self._timed_out)
        self._ended = False
        self._waits_for: _Waiting | None = None
        self._received_before = 0

    # What a subclass overrides.

    def on_request(self, body: bytes) -> None:
        """A-ASSOCIATE-RQ has come in Sta2: call `established` or `reject`."""
        raise NotImplementedError

    def on_answer(self, kind: PduType, body: bytes) -> None:
        """A-ASSOCIATE-AC or A-ASSOCIATE-RJ has come in Sta5."""
        raise NotImplementedError

    def on_fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """A part of a presentation data value has come while data are allowed."""
        raise NotImplementedError

    def on_release(self) -> None:
        """The peer wants to release: call `answer_release` once everything is answered."""
        raise NotImplementedError

    def on_ended(self, how: AssociationEnd, detail: str) -> None:
        """There is no association any more; called once, also when there never was one."""
        raise NotImplementedError

    def message_begun(self) -> bool:
        """A message has begun that is not complete."""
        return False

    def busy(self) -> bool:
        """The peer waits for this side."""
        return False

    def awaits_answer(self) -> bool:
        """The peer owes a response."""
        return False

    # Reading.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sta1, event 5: await A-ASSOCIATE-RQ with ARTIM running."""
        super().connection_made(transport)
        self._enter(State.AWAITING_ANSWER if self.is_requestor else State.AWAITING_REQUEST)

    def feed(self, data: memoryview) -> int:
        """Split into PDUs."""
        used = self.guard(lambda: self._stream.feed(data))
        return len(data) if used is None else used

    def hold(self) -> None:
        """Process no further PDU or fragment until `resume`."""
        self._stream.halted = True
        super().hold()

    def resume(self) -> None:
        """Go on."""
        self._stream.halted = False
        super().resume()

    def guard(self, step: Callable[[], T]) -> T | None:
        """Run a step of reading; what it raises ends the association, and None is returned."""
        try:
            return step()
        except ProtocolError as error:
            self._break(error)
        except Exception:
            _log.exception("association_failed", state=self.state.name)
            self.abort(AssociationEnd.FAILED, "internal error")
        self._stream.deafen()
        return None

    def _break(self, error: ProtocolError) -> None:
        """Event 19 for what is recognised only after its header."""
        if self.state is State.AWAITING_REQUEST:
            self.abort(AssociationEnd.PROTOCOL_ERROR, str(error))
        elif self.state is not State.CLOSING:
            self._abort(AbortSource.PROVIDER, error.reason, AssociationEnd.PROTOCOL_ERROR, str(error))

    # The state machine: what `PduStream` calls.

    def begin_pdu(self, kind: PduType, length: int) -> BodyHandling:
        """Decide by Table 9-10; an action that needs the body runs in `end_pdu`."""
        action = action_for(self.state, kind)
        if action in {Action.DATA, Action.DATA_WHILE_RELEASING}:
            return BodyHandling.STREAM
        if action in {Action.INDICATE_ASSOCIATE, Action.CONFIRM_ACCEPT, Action.CONFIRM_REJECT}:
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
        if action is Action.INDICATE_ASSOCIATE:
            self.on_request(body)
        elif action in {Action.CONFIRM_ACCEPT, Action.CONFIRM_REJECT}:
            self.on_answer(kind, body)
        elif action is Action.INDICATE_RELEASE:
            self._enter(State.RELEASE_INDICATED)
            self.on_release()
        elif action is Action.CONFIRM_RELEASE:
            self._finish(AssociationEnd.RELEASED)
            self.close()
        elif action is Action.COLLIDE:
            self._collide()
        elif action is Action.CONFIRM_COLLIDED_RELEASE:
            self._enter(State.COLLISION_ANSWERING)
            self.answer_release()
        elif action in {Action.INDICATE_ABORT, Action.CLOSE}:
            self._finish(AssociationEnd.ABORTED_BY_PEER, f"source {body[2]}, reason {body[3]}")
            self.close()

    def fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """Pass data on, unless the association ended within the PDU."""
        if self.state in OPEN_STATES:
            self.on_fragment(context_id, control, data, end)

    def _refuse(self, action: Action, kind: PduType) -> None:
        known = kind is not PduType.UNRECOGNIZED
        reason = AbortReason.UNEXPECTED_PDU if known else AbortReason.UNRECOGNIZED_PDU
        detail = f"{kind.name} in {self.state.name}"
        if action is Action.ABORT_AS_PROVIDER:
            self._abort(AbortSource.PROVIDER, reason, AssociationEnd.PROTOCOL_ERROR, detail)
        elif action is Action.ABORT_AS_USER:
            self.abort(AssociationEnd.PROTOCOL_ERROR, detail)
        elif not self.unsent:  # who does not read gets no further answers
            self.send(pdu.abort(AbortSource.PROVIDER, reason))

    def _collide(self) -> None:
        if self.is_requestor:
            self._enter(State.COLLISION_AS_REQUESTOR)
            self.on_release()
        else:
            self._enter(State.COLLISION_AS_ACCEPTOR)

    # What the local user asks for.

    def release(self) -> None:
        """Ask the peer to release (AR-1)."""
        if self.state is State.ESTABLISHED:
            self.send(pdu.release_rq())
            self._enter(State.RELEASING)

    def answer_release(self) -> None:
        """Confirm the peer's release (AR-4, AR-9)."""
        if self.state is State.COLLISION_AS_REQUESTOR:
            self.send(pdu.release_rp())
            self._enter(State.COLLISION_AWAITING_PEER)
        elif self.state in {State.RELEASE_INDICATED, State.COLLISION_ANSWERING}:
            self.send(pdu.release_rp())
            self._await_close(AssociationEnd.RELEASED)

    def reject(self, answer: bytes) -> None:
        """Send A-ASSOCIATE-RJ (AE-8)."""
        self.send(answer)
        self._await_close(AssociationEnd.REJECTED)

    def established(self, answer: bytes) -> None:
        """Send A-ASSOCIATE-AC (AE-7)."""
        self.send(answer)
        self._enter(State.ESTABLISHED)

    def abort(self, how: AssociationEnd, detail: str = "") -> None:
        """Send A-ABORT as the service user (AA-1); nothing when there is nothing to abort."""
        if self.state not in {State.IDLE, State.CLOSING}:
            self._abort(AbortSource.USER, AbortReason.NOT_SPECIFIED, how, detail)

    def close(self) -> None:
        """Close the connection without a word."""
        self._enter(State.CLOSING)
        self.shut()

    def _abort(self, source: AbortSource, reason: AbortReason, how: AssociationEnd, detail: str) -> None:
        self.send(pdu.abort(source, reason))
        self._await_close(how, detail)

    def _await_close(self, how: AssociationEnd, detail: str = "") -> None:
        """Sta13: ignore what still comes until the peer closes or ARTIM expires."""
        held = self._stream.halted
        self._stream.skip_everything()
        self._enter(State.CLOSING)
        self.release_writers()
        self._finish(how, detail)
        if held:
            self.drop_held()

    def _finish(self, how: AssociationEnd, detail: str = "") -> None:
        if not self._ended:
            self._ended = True
            self.on_ended(how, detail)

    # Timers and the end.

    def rearm(self) -> None:
        """Start the timer that the present situation demands; those of states run since the state was entered.

        What is under way gets its time once, and again for each `LEAST_PROGRESS` bytes of a message: otherwise a peer
        could keep an association for ever by a byte now and then.
        """
        if self.state is State.ESTABLISHED or self.state is State.RELEASE_INDICATED:
            waits_for = self._waiting_for()
            if (
                waits_for is not self._waits_for
                or waits_for in {_Waiting.ANYTHING, _Waiting.ANSWER}
                or (waits_for is _Waiting.REST_OF_MESSAGE and self._received_enough())
            ):
                self._waits_for = waits_for
                self._received_before = self.received
                self._watch.start(self._patience(waits_for))

    def _received_enough(self) -> bool:
        return self.received - self._received_before >= LEAST_PROGRESS

    def _waiting_for(self) -> _Waiting:
        if self.congested:
            return _Waiting.PEER_TO_READ
        if self._stream.halted and not self.awaits_answer():
            return _Waiting.OURSELVES
        if self.message_begun() or not self._stream.between:
            return _Waiting.REST_OF_MESSAGE
        if self.awaits_answer():
            return _Waiting.ANSWER
        return _Waiting.OURSELVES if self.busy() else _Waiting.ANYTHING

    def _patience(self, waits_for: _Waiting) -> float:
        if waits_for is _Waiting.OURSELVES:
            return inf
        bounded = waits_for in {_Waiting.REST_OF_MESSAGE, _Waiting.ANSWER}
        return self.timeouts.dimse if bounded else self.timeouts.network

    def _enter(self, state: State) -> None:
        self.state = state
        if state in _TIMED_STATES:
            self._watch.start(self.timeouts.artim)
        else:
            self.rearm()

    def _timed_out(self) -> None:
        if self.state in {State.AWAITING_REQUEST, State.CLOSING}:
            self._finish(AssociationEnd.TIMED_OUT, "ARTIM expired")
            self.close()
        else:
            self.abort(AssociationEnd.TIMED_OUT, f"nothing came or went in time in {self.state.name}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Event 17."""
        self.state = State.IDLE
        super().connection_lost(exc)
        self._watch.stop()
        self._finish(AssociationEnd.LOST, describe_failure(exc) if exc else "the peer closed the connection")
