"""Every exchange, queue and routing key, and which message travels where. Nothing else names them."""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from osteon.contracts.base import Message
from osteon.contracts.commitment import (
    CommitmentReply,
    CommitmentReportReply,
    CommitmentReportRequest,
    CommitmentRequest,
    CommitmentStatusReply,
    CommitmentStatusRequest,
)
from osteon.contracts.failure import FailureReply
from osteon.contracts.find import FindCancelled, FindPageReply, FindPageRequest
from osteon.contracts.imaging import (
    DecodeReply,
    DecodeRequest,
    RenderReply,
    RenderRequest,
    TranscodeReply,
    TranscodeRequest,
)
from osteon.contracts.packs import ConflictsFound, PackIndexed, PackSealed, PackStored
from osteon.contracts.reconciliation import PatientCorrected
from osteon.contracts.remote import (
    DicomWebDeleteReply,
    DicomWebDeleteRequest,
    DicomWebGetReply,
    DicomWebGetRequest,
    ListModalitiesReply,
    ListModalitiesRequest,
    PeerSystemReply,
    PeerSystemRequest,
    PeerUploadReply,
    PeerUploadRequest,
    RemoteEchoReply,
    RemoteEchoRequest,
    RemoteFindReply,
    RemoteFindRequest,
)
from osteon.contracts.retrieve import (
    MoveProgressed,
    MoveProgressReply,
    MoveProgressRequest,
    RetrievePlanReply,
    RetrievePlanRequest,
    StartMoveReply,
    StartMoveRequest,
)

M = TypeVar("M", bound=Message)
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

EXCHANGE: Final = "osteon"
"""Topic exchange that carries every message."""
DEAD_EXCHANGE: Final = "osteon.dead"
DEAD_QUEUE: Final = "osteon.dead"
"""Where a message ends that cannot be handled: kept with its reason, listed and replayed by `osteon dlq`."""
RETRY_DELAYS_MS: Final = (250, 1_000, 5_000, 30_000)
"""Back-off of a failed message; the last one repeats."""
MAX_ATTEMPTS: Final = 8
"""A message that failed this often for reasons other than an unavailable part is parked."""
PARK_BURST: Final = 20
"""Messages that one consumer of a queue parks at most while none succeeds; others wait until some do."""
SUCCESSES_PER_PARK: Final = 10
"""How many messages a consumer must handle to earn one more that may be parked."""
DELIVERY_LIMIT: Final = 20
"""A message that the broker handed out this often without an answer (it ends its consumer's process) is parked."""
REPLY_TO: Final = "amq.rabbitmq.reply-to"
"""RabbitMQ's pseudo-queue for direct replies."""


@dataclass(frozen=True, slots=True)
class Queue(Generic[M]):
    """A durable queue of one type of message, shared by all replicas of one service."""

    name: str
    message: type[M]
    routing_key: str


@dataclass(frozen=True, slots=True)
class RpcQueue(Generic[Q, R]):
    """A transient queue of one type of request; the reply goes to the requester directly."""

    name: str
    request: type[Q]
    reply: type[R]


def writer_queue(spool_id: str) -> Queue[PackSealed]:
    """Sealed packs of one spool, for the writers that mount it."""
    return Queue(f"writer.{spool_id}", PackSealed, f"pack.sealed.{spool_id}")


INDEXER: Final = Queue("indexer", PackStored, "pack.stored")
COMPARISONS: Final = Queue("indexer.comparison", ConflictsFound, "pack.conflicts")
"""Indexed packs whose conflicts are compared, so that no other pack waits for that."""
ROUTER: Final = Queue("dispatcher.indexed", PackIndexed, "pack.indexed")
"""Indexed packs for routing: an event that at least one dispatcher must handle."""
CORRECTIONS: Final = Queue("dispatcher.correction", PatientCorrected, "patient.corrected")
"""Corrections of patients, from the hospital's system: each must be applied."""
FIND: Final = RpcQueue("query.find", FindPageRequest, FindPageReply)
RETRIEVE_PLAN: Final = RpcQueue("dispatcher.plan", RetrievePlanRequest, RetrievePlanReply)
MOVE: Final = RpcQueue("dispatcher.move", StartMoveRequest, StartMoveReply)
MOVE_PROGRESS: Final = RpcQueue("dispatcher.move.progress", MoveProgressRequest, MoveProgressReply)
ECHO: Final = RpcQueue("dispatcher.echo", RemoteEchoRequest, RemoteEchoReply)
REMOTE_FIND: Final = RpcQueue("dispatcher.find", RemoteFindRequest, RemoteFindReply)
COMMIT: Final = RpcQueue("dispatcher.commitment", CommitmentRequest, CommitmentReply)
COMMITMENT_STATUS: Final = RpcQueue("dispatcher.commitment.status", CommitmentStatusRequest, CommitmentStatusReply)
COMMITMENT_REPORT: Final = RpcQueue("dispatcher.commitment.report", CommitmentReportRequest, CommitmentReportReply)
PEER: Final = RpcQueue("dispatcher.peer", PeerSystemRequest, PeerSystemReply)
PEER_UPLOAD: Final = RpcQueue("dispatcher.peer.upload", PeerUploadRequest, PeerUploadReply)
DICOMWEB_GET: Final = RpcQueue("dispatcher.dicomweb.get", DicomWebGetRequest, DicomWebGetReply)
DICOMWEB_DELETE: Final = RpcQueue("dispatcher.dicomweb.delete", DicomWebDeleteRequest, DicomWebDeleteReply)
MODALITIES: Final = RpcQueue("query.modalities", ListModalitiesRequest, ListModalitiesReply)
TRANSCODE: Final = RpcQueue("imaging.transcode", TranscodeRequest, TranscodeReply)
RENDER: Final = RpcQueue("imaging.render", RenderRequest, RenderReply)
DECODE: Final = RpcQueue("imaging.decode", DecodeRequest, DecodeReply)

REQUESTS: Final[tuple[RpcQueue[Any, Any], ...]] = (
    FIND,
    RETRIEVE_PLAN,
    MOVE,
    MOVE_PROGRESS,
    ECHO,
    REMOTE_FIND,
    COMMIT,
    COMMITMENT_STATUS,
    COMMITMENT_REPORT,
    PEER,
    PEER_UPLOAD,
    DICOMWEB_GET,
    DICOMWEB_DELETE,
    MODALITIES,
    TRANSCODE,
    RENDER,
    DECODE,
)
_TYPES: Final[tuple[type[Message], ...]] = (
    PackSealed,
    PackStored,
    ConflictsFound,
    PackIndexed,
    PatientCorrected,
    MoveProgressed,
    FindCancelled,
    FailureReply,
    *(queue.request for queue in REQUESTS),
    *(queue.reply for queue in REQUESTS),
)
MESSAGES: Final[dict[str, type[Message]]] = {message.__name__: message for message in _TYPES}
"""By the name that travels as the AMQP `type` property."""


_KEYS: Final[dict[type[Message], str]] = {
    PackStored: "pack.stored",
    ConflictsFound: "pack.conflicts",
    PackIndexed: "pack.indexed",
    PatientCorrected: "patient.corrected",
    FindCancelled: "find.cancelled",
}
"""Routing keys of messages that carry no address."""


def routing_key(message: Message) -> str:
    """Return the key under which `message` is published to `EXCHANGE`."""
    match message:
        case PackSealed():
            return f"pack.sealed.{message.spool_id}"
        case MoveProgressed():
            return f"move.progress.{message.address}"
        case _ if (key := _KEYS.get(type(message))) is not None:
            return key
        case _:
            raise TypeError(f"{type(message).__name__} is not published; it is a request or a reply")


def binding_key(message: type[Message], address: str = "") -> str:
    """Return the topic pattern that matches every published message of a type, or those to a process only."""
    keys: dict[type[Message], str] = {
        **_KEYS,
        PackSealed: "pack.sealed.#",
        MoveProgressed: f"move.progress.{address}.#" if address else "move.progress.#",
    }
    if message not in keys:
        raise TypeError(f"{message.__name__} is not published; it is a request or a reply")
    return keys[message]


def retry_queue(queue: str, delay_ms: int) -> str:
    """Return the name of the queue where failed messages of `queue` wait for `delay_ms`."""
    return f"{queue}.retry.{delay_ms}"


def needs_queue(message: Message) -> bool:
    """Whether a queue must take `message`: a work item must never vanish, an event may have no listener."""
    return not isinstance(message, PackIndexed | MoveProgressed | FindCancelled)
