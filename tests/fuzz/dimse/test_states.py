"""Any PDU in any order: the answers are those of PS3.8 Table 9-10, and every operation ends once.

A model of the acceptor runs beside it and says after each step what must have been sent.
"""

import asyncio
import struct
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from osteon.dimse import command as commands
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.association import AcceptedAssociation
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo, Outcome
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.status import Status
from support.dimse.raw_peer import (
    DataSetSink,
    ObserverLog,
    RecordingHandler,
    cancel_rq,
    data_tf,
    echo_rq,
    pdu,
    pdv,
    request_pdu,
    store_rq,
)
from support.fuzz.acceptor import (
    ABORT,
    BY_USER,
    CONTEXTS,
    INVALID_PARAMETER,
    RELEASE,
    RELEASED,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    MemoryTransport,
    fuzz,
    window,
)

REQUEST = request_pdu(CONTEXTS, window(60))
KNOWN = {1, 2, 3, 4, 5, 6, 7}


class Association(RuleBasedStateMachine):
    """Steps of a peer, and what they must lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.log = ObserverLog()
        self.handlers: list[RecordingHandler] = []
        self.acceptor = Acceptor(AcceptorConfig(check_called_aet=True, async_operations=60), self._handler, self.log)
        self.pieces = 1 << 16
        self.expected: list[object] = []

    def _handler(self, info: AssociationInfo) -> RecordingHandler:
        self.handlers.append(RecordingHandler(info, on_finish=self._finish))
        return self.handlers[-1]

    async def _finish(self, sink: DataSetSink) -> Outcome:
        answer = self.loop.create_future()
        self.in_flight.append((sink.request.message_id, answer))
        await answer
        return Outcome(Status.SUCCESS)

    def run(self, step: Callable[[], object] = lambda: None) -> None:
        """Do something on the event loop, and let everything happen that can."""

        async def turns() -> None:
            step()
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def send(self, data: bytes) -> None:
        self.run(lambda: self.wire.feed(data, self.pieces))

    def expect(self, *answers: object) -> None:
        """Compare what was said since with what must have been."""
        said = [_readable(kind, body) for kind, body in self.wire.said()]
        assert said == list(answers), (said, answers)

    @initialize(pieces=st.sampled_from([1, 2, 7, 1 << 16]))
    def connect(self, pieces: int) -> None:
        self.pieces = pieces
        self.state = "request"
        self.message = ""
        self.message_id = 0
        self.in_flight: list[tuple[int, asyncio.Future[None]]] = []
        self.wire = MemoryTransport(
            AcceptedAssociation(self.loop, self.acceptor, ReadTurns(self.loop, 1 << 16)), self.loop
        )

    def over(self, *answers: object) -> None:
        """The association ends with these words."""
        self.expect(*answers)
        # What comes behind a parameter that makes no sense is not looked at: its framing can not be trusted.
        self.state, self.message = "deaf" if INVALID_PARAMETER in answers else "closing", ""

    def unexpected(self, kind: int) -> None:
        """Answer a PDU that has no place in the present state."""
        reason = UNEXPECTED_PDU if kind in KNOWN else UNRECOGNIZED_PDU
        if self.state == "request":
            self.over(BY_USER)
        elif self.state == "deaf":
            self.expect()
        elif self.state == "closing":
            self.expect(*([reason] if kind == 1 or kind not in KNOWN else []))
        else:
            self.over(reason)

    def stored(self) -> None:
        """A data set is complete: its operation is in flight."""
        assert self.in_flight[-1][0] == self.message_id
        self.message = ""

    @precondition(lambda self: self.state != "gone")
    @rule(known=st.booleans())
    def ask(self, known: bool) -> None:
        self.send(REQUEST if known else request_pdu(CONTEXTS, called="WRONG"))
        if self.state == "request" and known:
            self.expect("A-ASSOCIATE-AC")
            self.state = "open"
        elif self.state == "request":
            self.over((3, bytes((0, 1, 1, 7))))
        else:
            self.unexpected(1)

    @precondition(lambda self: self.state != "gone")
    @rule(kind=st.sampled_from([0, 2, 3, 6, 8, 9, 71, 255]), body=st.binary(max_size=12))
    def any_pdu(self, kind: int, body: bytes) -> None:
        self.send(pdu(kind, body))
        self.unexpected(kind)

    @precondition(lambda self: self.state != "gone")
    @rule()
    def echo(self) -> None:
        self.message_id += 1
        self.send(data_tf(pdv(3, 3, echo_rq(self.message_id))))
        if self.state != "open":
            self.unexpected(4)
        elif self.message:
            self.over(INVALID_PARAMETER)
        else:
            self.expect((self.message_id, Status.SUCCESS))

    @precondition(lambda self: self.state != "gone")
    @rule(fragments=st.integers(1, 4), last=st.booleans())
    def store_command(self, fragments: int, last: bool) -> None:
        self.message_id += 1
        command = store_rq(self.message_id, f"1.2.{self.message_id}")
        size = len(command) // fragments
        parts = [command[n * size : (n + 1) * size if n + 1 < fragments else None] for n in range(fragments)]
        controls = [1] * (fragments - 1) + [3 if last else 1]
        self.send(data_tf(*(pdv(1, control, part) for control, part in zip(controls, parts, strict=True))))
        if self.state != "open":
            self.unexpected(4)
        elif self.message == "data":
            self.over(INVALID_PARAMETER)
        else:
            # Behind an unfinished command set the elements of a second one count: the last of each.
            self.expect()
            self.message = "data" if last else "command"

    @precondition(lambda self: self.state != "gone")
    @rule(data=st.binary(max_size=50), last=st.booleans(), context=st.sampled_from([1, 1, 1, 1, 3, 7]))
    def store_data(self, data: bytes, last: bool, context: int) -> None:
        self.send(data_tf(pdv(context, 2 if last else 0, data)))
        if self.state != "open":
            self.unexpected(4)
        elif self.message != "data" or context != 1:
            self.over(INVALID_PARAMETER)
        else:
            self.expect()
            if last:
                self.stored()

    @precondition(lambda self: self.state == "open" and not self.message)
    @rule()
    def cancel_what_is_not_there(self) -> None:
        self.send(data_tf(pdv(5, 3, cancel_rq(999))))
        self.expect()

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def an_operation_ends(self, data: st.DataObject) -> None:
        message_id, answer = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        answer.set_result(None)
        self.run()
        answers: list[object] = [(message_id, Status.SUCCESS)] if self.state in {"open", "release"} else []
        if self.state == "release" and not self.in_flight:
            self.over(*answers, RELEASED)
        else:
            self.expect(*answers)

    @precondition(lambda self: self.state != "gone")
    @rule()
    def release(self) -> None:
        self.send(RELEASE)
        if self.state != "open":
            self.unexpected(5)
        elif self.in_flight:
            self.expect()
            self.state, self.message = "release", ""
        else:
            self.over(RELEASED)

    @precondition(lambda self: self.state != "gone")
    @rule()
    def abort(self) -> None:
        self.send(ABORT)
        self.expect()
        assert self.wire.closed is (self.state != "deaf")
        self.gone()

    @precondition(lambda self: self.state in {"open", "closing", "deaf", "request"})
    @rule(rubbish=st.binary(min_size=6, max_size=200))
    def rubbish(self, rubbish: bytes) -> None:
        self.send(rubbish)
        self.wire.said()
        self.lose()

    @precondition(lambda self: self.state != "gone")
    @rule()
    def lose(self) -> None:
        self.gone()

    def gone(self) -> None:
        self.run(self.wire.lose)
        self.expect()
        self.state = "gone"

    @precondition(lambda self: self.state == "gone" and not self.in_flight)
    @rule(pieces=st.sampled_from([1, 2, 7, 1 << 16]))
    def connect_again(self, pieces: int) -> None:
        self.connect(pieces)

    @invariant()
    def open_associations_are_counted(self) -> None:
        assert AssociationEnd.FAILED not in self.log.ends
        assert self.acceptor.associations == len(self.log.accepts) - len(self.log.ends) <= 1
        if hasattr(self, "wire"):
            assert self.acceptor.associations == (self.state in {"open", "release"})

    def teardown(self) -> None:
        if hasattr(self, "wire"):
            self.run(self.wire.lose)
            for _, answer in self.in_flight:
                answer.set_result(None)
            self.run()
        assert [handler.closes for handler in self.handlers] == [1] * len(self.handlers)
        assert all(sink.end in {"finish", "abort"} for handler in self.handlers for sink in handler.sinks)
        assert not (self.acceptor.waiting or self.acceptor.handlers_closing)
        self.loop.close()


def _readable(kind: int, body: bytes) -> object:
    """Return a response as (message id, status), A-ASSOCIATE-AC by name, and the rest as it is."""
    if kind == 2:
        return "A-ASSOCIATE-AC"
    if kind != 4:
        return kind, body
    length, _, control = struct.unpack_from(">IBB", body)
    assert (control, length) == (3, len(body) - 4)
    response = commands.decode(body[6:])
    return response.message_id, response.require(commands.CommandElement.STATUS)


TestAssociation = Association.TestCase
TestAssociation.settings = fuzz(80, steps=40)
