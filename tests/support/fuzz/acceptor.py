"""An acceptor under attack, and a well-behaved association that goes on meanwhile."""

import asyncio
import resource
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache

from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation

from osteon.dimse.acceptor import Acceptor
from osteon.dimse.association import AcceptedAssociation
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.status import Status
from support.dimse.raw_peer import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    VERIFICATION,
    ObserverLog,
    RawPeer,
    RecordingHandler,
    pdu,
    request_pdu,
    store_message,
)
from support.fuzz.case_counts import EFFORT

CONTEXTS = [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT]), (STUDY_FIND, [IMPLICIT])]
BYSTANDER = "BYSTANDER"


def fuzz(examples: int, steps: int = 50) -> hypothesis_settings:
    """Return how hypothesis is to try: the same examples each time, unless more effort is asked for."""
    return hypothesis_settings(
        max_examples=examples * EFFORT,
        stateful_step_count=steps,
        derandomize=EFFORT == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        # A failure is made smaller only by who asks for it: that takes minutes.
        phases=[Phase.generate] if EFFORT == 1 else [Phase.generate, Phase.shrink],
    )


@dataclass
class FuzzedAcceptor:
    """An acceptor with a handler for each association."""

    acceptor: Acceptor
    log: ObserverLog
    port: int
    handlers: list[RecordingHandler]

    async def peer(self) -> RawPeer:
        """Connect."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        return RawPeer(reader, writer)

    async def associated(self, **names: str) -> RawPeer:
        """Connect and associate: context 1 is for CT, 3 for C-ECHO, 5 for C-FIND."""
        peer = await self.peer()
        await peer.send(_request(**names))
        kind, body = await peer.receive()
        assert kind == 2, (kind, body)
        return peer

    @property
    def attackers(self) -> list[RecordingHandler]:
        """Handlers of all associations but the bystander's."""
        return [h for h in self.handlers if h.info is None or h.info.calling_aet != BYSTANDER]

    async def settled(self, ends: int) -> None:
        """Wait until so many associations have ended, their handlers included."""
        await until(lambda: len(self.log.ends) >= ends and all(handler.closes for handler in self.attackers))
        assert len(self.log.ends) == ends

    def check(self) -> None:
        """Fail unless every association has ended, in order, and nothing of any is left."""
        assert AssociationEnd.FAILED not in self.log.ends
        assert len(self.log.accepts) == len(self.log.ends) == len(self.handlers)
        for handler in self.handlers:
            assert handler.closes == 1
            assert all(sink.end in {"finish", "abort"} for sink in handler.sinks)
        acceptor = self.acceptor
        assert acceptor.associations == 0
        assert not (acceptor.connections or acceptor.waiting or acceptor.handlers_closing)


@asynccontextmanager
async def under_attack(
    make: Callable[[AssociationInfo], RecordingHandler] = RecordingHandler, *, bystander: bool = True, **config: object
) -> AsyncIterator[FuzzedAcceptor]:
    """Run an acceptor, and beside the block an association that stores and must not notice anything."""
    handlers: list[RecordingHandler] = []

    def keep(info: AssociationInfo) -> RecordingHandler:
        handlers.append(make(info))
        return handlers[-1]

    log = ObserverLog()
    acceptor = Acceptor(AcceptorConfig(**{"max_associations": 1000, **config}), keep, log)
    target = FuzzedAcceptor(acceptor, log, await acceptor.start("127.0.0.1", 0), handlers)
    try:
        if bystander:
            async with _going_on(target):
                yield target
        else:
            yield target
    finally:
        await target.acceptor.close()
    target.check()


@asynccontextmanager
async def _going_on(target: FuzzedAcceptor) -> AsyncIterator[None]:
    peer = await target.associated(calling=BYSTANDER)
    handler, enough = target.handlers[-1], asyncio.Event()

    async def store() -> int:
        sent = 0
        while not enough.is_set() or sent < 3:
            sent += 1
            await peer.send(store_message(sent % 65536, f"1.2.{sent}", bytes(5000)))
            response = await asyncio.wait_for(peer.response(), 30)
            assert (response.status, response.message_id) == (Status.SUCCESS, sent % 65536)
            await asyncio.sleep(0.002)
        return sent

    storing = asyncio.create_task(store())
    try:
        yield
    finally:
        enough.set()
        sent = await storing
        await peer.release()
    assert [sink.size for sink in handler.sinks] == [5000] * sent
    assert {sink.end for sink in handler.sinks} == {"finish"}


@cache
def _request(**names: str) -> bytes:
    return request_pdu(CONTEXTS, **names)


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def in_batches(works: list[Callable[[], Awaitable[None]]], size: int = 100) -> None:
    """Run all, so many at the same time."""
    for at in range(0, len(works), size):
        await asyncio.gather(*(work() for work in works[at : at + size]))


def allow_files(count: int) -> None:
    """Let this process open so many files, both ends of its connections included."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        with suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard) if hard > 0 else count, hard))


def aborted(source: int, reason: int) -> tuple[int, bytes]:
    """A-ABORT as `RawPeer.receive` returns it."""
    return 7, bytes((0, 0, source, reason))


BY_USER = aborted(0, 0)
UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = (aborted(2, reason) for reason in (1, 2, 6))
RELEASED = (6, bytes(4))
ABORT, RELEASE = pdu(7), pdu(5)


def window(size: int) -> AsynchronousOperationsWindowNegotiation:
    """Ask for so many operations in flight."""
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked, item.maximum_number_operations_performed = size, 1
    return item


class MemoryTransport(asyncio.Transport):
    """A connection without a network: what is fed comes to the association as if it were read."""

    def __init__(
        self, association: AcceptedAssociation, loop: asyncio.AbstractEventLoop, *, reads: bool = True
    ) -> None:
        super().__init__()
        self._reads = reads
        self.closed = False
        self._loop = loop
        self._protocol = association.protocol
        self._written = bytearray()
        self._protocol.connection_made(self)

    def feed(self, data: bytes, pieces: int) -> None:
        """Let data be read in pieces of so many bytes, until the connection is closed."""
        for at in range(0, len(data), pieces):
            if self.closed:
                return
            piece = data[at : at + pieces]
            self._protocol.get_buffer(-1)[: len(piece)] = piece
            self._protocol.buffer_updated(len(piece))

    def said(self) -> list[tuple[int, bytes]]:
        """Return type and body of each PDU that was sent since; fails when one is cut."""
        found, data = [], bytes(self._written)
        self._written.clear()
        while data:
            kind, length = struct.unpack_from(">BxI", data)
            assert len(data) >= 6 + length
            found.append((kind, data[6 : 6 + length]))
            data = data[6 + length :]
        return found

    def lose(self) -> None:
        """Lose the connection, if it is not closed."""
        if not self.closed:
            self.closed = True
            self._protocol.connection_lost(None)

    # What the association calls.

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0 if self._reads else len(self._written)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self._written += data

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)
