"""A recording handler, an acceptor on a free port, and a raw peer that speaks PDUs byte by byte."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from osteon.dimse import command as commands
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import (
    ActionRequest,
    AssociationInfo,
    EventReport,
    FindRequest,
    FindResponse,
    GetRequest,
    MoveRequest,
    Outcome,
    PresentationContext,
    Reporter,
    RetrieveResponse,
    StoreRequest,
)
from osteon.dimse.observer import AcceptorObserver, AssociationEnd, AssociationLimit, RejectReason
from osteon.dimse.status import Status

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SUCCESS = Outcome(Status.SUCCESS)


class DataSetSink:
    """Keeps the data set and how it ended."""

    def __init__(self, handler: "RecordingHandler", request: StoreRequest, context: PresentationContext) -> None:
        self.handler, self.request, self.context = handler, request, context
        self.data = bytearray()
        self.size = 0
        self.end = ""

    def write(self, fragment: memoryview) -> Awaitable[None] | None:
        self.size += len(fragment)
        if self.handler.keep:
            self.data += fragment
        return self.handler.on_write(self) if self.handler.on_write else None

    async def finish(self) -> Outcome:
        self.end += "finish"
        return await self.handler.on_finish(self) if self.handler.on_finish else SUCCESS

    def abort(self) -> None:
        self.end += "abort"


@dataclass
class RecordingHandler:
    """An association handler whose behaviour a test sets."""

    info: AssociationInfo | None = None
    keep: bool = True
    refusal: Outcome | None = None
    matches: Callable[[FindRequest], AsyncIterator[FindResponse]] | None = None
    on_move: Callable[[MoveRequest], AsyncIterator[RetrieveResponse]] | None = None
    on_get: Callable[[GetRequest], AsyncIterator[RetrieveResponse]] | None = None
    on_write: Callable[[DataSetSink], Awaitable[None] | None] | None = None
    on_finish: Callable[[DataSetSink], Awaitable[Outcome]] | None = None
    on_echo: Callable[[], Awaitable[Outcome]] | None = None
    on_action: Callable[[ActionRequest, Reporter | None], Awaitable[Outcome]] | None = None
    reports: list[EventReport] = field(default_factory=list)
    sinks: list[DataSetSink] = field(default_factory=list)
    finds: list[FindRequest] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    closes: int = 0

    async def echo(self) -> Outcome:
        return await self.on_echo() if self.on_echo else SUCCESS

    def store(self, request: StoreRequest, context: PresentationContext) -> DataSetSink | Outcome:
        if self.refusal is not None:
            return self.refusal
        sink = DataSetSink(self, request, context)
        self.sinks.append(sink)
        return sink

    def find(self, request: FindRequest) -> AsyncIterator[FindResponse]:
        self.finds.append(request)
        return self.matches(request) if self.matches else no_matches()

    def move(self, request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        return self.on_move(request) if self.on_move else nothing_to_retrieve()

    def get(self, request: GetRequest) -> AsyncIterator[RetrieveResponse]:
        return self.on_get(request) if self.on_get else nothing_to_retrieve()

    async def action(self, request: ActionRequest, reporter: Reporter | None) -> Outcome:
        return await self.on_action(request, reporter) if self.on_action else SUCCESS

    async def report(self, report: EventReport) -> Outcome:
        self.reports.append(report)
        return SUCCESS

    async def closed(self) -> None:
        self.closes += 1
        self.ended.set()


async def no_matches() -> AsyncIterator[FindResponse]:
    yield FindResponse(Status.SUCCESS)


async def nothing_to_retrieve() -> AsyncIterator[RetrieveResponse]:
    yield RetrieveResponse(Status.SUCCESS)


@dataclass
class ObserverLog(AcceptorObserver):
    """Keeps what an observer hears."""

    accepts: list[AssociationInfo] = field(default_factory=list)
    rejects: list[RejectReason] = field(default_factory=list)
    limits: list[AssociationLimit] = field(default_factory=list)
    ends: list[AssociationEnd] = field(default_factory=list)
    unuseds: list[AssociationEnd] = field(default_factory=list)

    def accepted(self, info: AssociationInfo) -> None:
        self.accepts.append(info)

    def rejected(self, info: AssociationInfo, reason: RejectReason) -> None:
        self.rejects.append(reason)

    def limited(self, info: AssociationInfo, limit: AssociationLimit) -> None:
        self.limits.append(limit)

    def ended(self, info: AssociationInfo, how: AssociationEnd) -> None:
        self.ends.append(how)

    def unused(self, how: AssociationEnd) -> None:
        self.unuseds.append(how)


@dataclass
class RunningAcceptor:
    """An acceptor that listens; `handler` answers every association."""

    acceptor: Acceptor
    port: int
    handler: RecordingHandler
    log: ObserverLog

    async def peer(self, host: str = "127.0.0.1") -> "RawPeer":
        """Connect from one of this machine's addresses."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24, local_addr=(host, 0))
        return RawPeer(reader, writer)


@asynccontextmanager
async def running(handler: RecordingHandler | None = None, **config: object) -> AsyncIterator[RunningAcceptor]:
    """Run an acceptor for the block."""
    handler, log = handler or RecordingHandler(), ObserverLog()

    def factory(info: AssociationInfo) -> RecordingHandler:
        handler.info = info
        handler.ended = asyncio.Event()
        return handler

    acceptor = Acceptor(AcceptorConfig(**config), factory, log)
    port = await acceptor.start("127.0.0.1", 0)
    try:
        yield RunningAcceptor(acceptor, port, handler, log)
    finally:
        await acceptor.close()


def request_pdu(
    contexts: list[tuple[str, list[str]]] | None = None, *items: object, called: str = "OSTEON", calling: str = "PEER"
) -> bytes:
    """Encode an A-ASSOCIATE-RQ; context ids are 1, 3, 5…"""
    asked = A_ASSOCIATE()
    asked.application_context_name = "1.2.840.10008.3.1.1.1"
    asked.calling_ae_title, asked.called_ae_title = calling, called
    definitions = []
    for number, (abstract, syntaxes) in enumerate(contexts or [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]):
        context = build_context(abstract, syntaxes)
        context.context_id = 2 * number + 1
        definitions.append(context)
    asked.presentation_context_definition_list = definitions
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    implementation.implementation_class_uid = UID("1.2.3.4")
    asked.user_information = [length, implementation, *items]
    return A_ASSOCIATE_RQ(asked).encode()


def pdu(kind: int, body: bytes = bytes(4), length: int | None = None) -> bytes:
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def pdv(context_id: int, control: int, data: bytes = b"") -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def data_tf(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


def command_set(values: dict[int, int | str | bytes]) -> bytes:
    body = b""
    for element, value in values.items():
        if isinstance(value, int):
            raw = value.to_bytes(2, "little")
        else:
            raw = value.encode() if isinstance(value, str) else value
            raw += b"\0" * (len(raw) % 2)
        body += struct.pack("<HHI", 0, element, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def store_rq(message_id: int = 1, uid: str = "1.2.3", sop_class: str = CT, **more: int | str) -> bytes:
    values = {0x0002: sop_class, 0x0100: 1, 0x0110: message_id, 0x0700: 0, 0x0800: 1, 0x1000: uid}
    return command_set({**values, **{int(k[1:], 16): v for k, v in more.items()}})


def echo_rq(message_id: int = 1) -> bytes:
    return command_set({0x0002: VERIFICATION, 0x0100: 0x30, 0x0110: message_id, 0x0800: 0x0101})


def find_rq(message_id: int = 1, sop_class: str = STUDY_FIND) -> bytes:
    return command_set({0x0002: sop_class, 0x0100: 0x20, 0x0110: message_id, 0x0700: 0, 0x0800: 1})


def move_rq(message_id: int = 1, destination: str = "SINK", sop_class: str = STUDY_MOVE) -> bytes:
    values = {0x0002: sop_class, 0x0100: 0x21, 0x0110: message_id, 0x0600: destination, 0x0700: 0, 0x0800: 1}
    return command_set(values)


def get_rq(message_id: int = 1, sop_class: str = STUDY_GET) -> bytes:
    return command_set({0x0002: sop_class, 0x0100: 0x10, 0x0110: message_id, 0x0700: 0, 0x0800: 1})


def cancel_rq(message_id: int) -> bytes:
    return command_set({0x0100: 0x0FFF, 0x0120: message_id, 0x0800: 0x0101})


def store_message(message_id: int = 1, uid: str = "1.2.3", data: bytes = b"data", context_id: int = 1) -> bytes:
    return data_tf(pdv(context_id, 3, store_rq(message_id, uid))) + data_tf(pdv(context_id, 2, data))


@dataclass
class DimseResponse:
    """A DIMSE response."""

    context_id: int
    command: commands.Command
    data_set: bytes | None

    @property
    def status(self) -> int:
        return self.command.require(commands.CommandElement.STATUS)

    @property
    def message_id(self) -> int:
        return self.command.message_id


@dataclass
class RawPeer:
    """The other side of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pending: list[tuple[int, int, bytes]] = field(default_factory=list)

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        with suppress(ConnectionError):
            await self.writer.drain()

    async def receive(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU."""
        kind, length = struct.unpack(">BxI", await self.reader.readexactly(6))
        return kind, await self.reader.readexactly(length)

    async def associate(self, *args: object, **kwargs: object) -> A_ASSOCIATE_AC:
        await self.send(request_pdu(*args, **kwargs))
        kind, body = await self.receive()
        assert kind == 2, (kind, body)
        answer = A_ASSOCIATE_AC()
        answer.decode(pdu(2, body))
        return answer

    async def response(self) -> DimseResponse:
        """Return the next DIMSE message."""
        context_id, encoded = await self._part()
        command = commands.decode(encoded)
        data = (await self._part())[1] if command.has_data_set else None
        return DimseResponse(context_id, command, data)

    async def _part(self) -> tuple[int, bytes]:
        whole = b""
        while True:
            if not self.pending:
                kind, body = await self.receive()
                assert kind == 4, (kind, body)
                at = 0
                while at < len(body):
                    length, context_id, control = struct.unpack_from(">IBB", body, at)
                    self.pending.append((context_id, control, body[at + 6 : at + 4 + length]))
                    at += 4 + length
            context_id, control, data = self.pending.pop(0)
            whole += data
            if control & 2:
                return context_id, whole

    async def release(self) -> None:
        await self.send(pdu(5))
        assert await self.receive() == (6, bytes(4))
        await self.close()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def reset(self) -> None:
        """Close with RST, as a process that is killed with unread data does."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        await asyncio.sleep(0)

    async def everything(self) -> list[tuple[int, bytes]]:
        """Return type and body of each PDU until the other side closes; fails when one is cut."""
        found = []
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while header := await self.reader.readexactly(6):
                kind, length = struct.unpack(">BxI", header)
                found.append((kind, await self.reader.readexactly(length)))
        return found

    async def at_end(self) -> bool:
        """Wait until the other side has closed; tell whether nothing came before."""
        with suppress(ConnectionError):
            return not await self.reader.read()
        return True
