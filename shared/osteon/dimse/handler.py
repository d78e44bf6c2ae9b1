"""What an acceptor needs of its service: the interface between the upper layer and everything behind it."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from osteon.dimse.status import Status


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An accepted presentation context (PS3.8 7.1.1.13)."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    extended: bytes = b""
    """Service-class-application-information that was agreed for this SOP class (PS3.7 D.3.3.5), empty for none."""
    scu: bool = True
    """The requestor of the association is service class user (PS3.7 D.3.3.4)."""
    scp: bool = False
    """The requestor of the association is service class provider, the acceptor user."""


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """The two application entities and their connection. `id` is the correlation id of what the association causes."""

    id: str
    calling_aet: str
    called_aet: str
    remote_host: str
    remote_port: int
    implementation_uid: str = ""
    implementation_version: str = ""
    user_identity: str = ""
    """The primary field as text when it is a user name (PS3.7 D.3.3.7), never a secret."""
    traceparent: str = ""
    """W3C Trace Context of the association, when the acceptor's service traces it."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ command set (PS3.7 9.1.1)."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    move_originator_aet: str = ""
    move_originator_message_id: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an operation: its status and, when it is not success, its Error Comment (0000,0902)."""

    status: Status
    comment: str = ""


class StoreSink(Protocol):
    """Takes the data set of one C-STORE as it arrives. Exactly one of `finish` and `abort` ends it."""

    def write(self, fragment: memoryview) -> Awaitable[None] | None:
        """Take the next bytes; the view is valid during the call only.

        May return something to await: the association reads nothing more until it is done (back-pressure).
        """

    async def finish(self) -> Outcome:
        """The data set is complete: return once the answer is certain. The association may read on meanwhile."""

    def abort(self) -> None:
        """The data set will not be completed (abort, lost connection, time-out)."""


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A C-FIND-RQ: its command set and the encoded Identifier."""

    message_id: int
    context: PresentationContext
    identifier: bytes


@dataclass(frozen=True, slots=True)
class FindResponse:
    """A C-FIND response: pending ones carry an Identifier in the context's transfer syntax; the last has none."""

    status: Status
    identifier: bytes | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class RetrieveOperationRequest:
    """What C-MOVE-RQ and C-GET-RQ have in common; `cancelled` is set by C-CANCEL."""

    message_id: int
    context: PresentationContext
    identifier: bytes
    cancelled: asyncio.Event


@dataclass(frozen=True, slots=True)
class MoveRequest(RetrieveOperationRequest):
    """A C-MOVE-RQ (PS3.7 9.1.4) and the AE title of its Move Destination."""

    destination: str


class StoreUser(Protocol):
    """What stores instances on an association: the service user of C-STORE (PS3.7 9.1.1)."""

    def contexts_to_use(self, abstract_syntax: str) -> Sequence[PresentationContext]:
        """Return the accepted contexts in which this side is service class user."""

    async def store(
        self,
        context: PresentationContext,
        sop_class_uid: str,
        sop_instance_uid: str,
        data: AsyncIterable[bytes | memoryview],
        *,
        length: int | None = None,
        move_originator: tuple[str, int] | None = None,
    ) -> Outcome:
        """C-STORE; see `osteon.dimse.service_user.ServiceUser.store`."""


@dataclass(frozen=True, slots=True)
class GetRequest(RetrieveOperationRequest):
    """A C-GET-RQ (PS3.7 9.1.3); its sub-operations are C-STOREs of `user`, on the same association."""

    user: StoreUser


@dataclass(frozen=True, slots=True)
class RetrieveResponse:
    """A C-MOVE or C-GET response (PS3.7 9.1.3, 9.1.4) and its sub-operations; `failed_uids` in the final one only."""

    status: Status
    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True)
class EventReport:
    """An N-EVENT-REPORT-RQ (PS3.7 10.1.1) with its encoded Event Information, empty when there is none."""

    message_id: int
    context: PresentationContext
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    information: bytes


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """An N-ACTION-RQ that requests storage commitment (PS3.4 J.3.2) with its encoded Action Information."""

    message_id: int
    context: PresentationContext
    information: bytes


class Reporter(Protocol):
    """Sends event reports on the association on which a request came."""

    async def report(
        self, context: PresentationContext, sop_class: str, sop_instance: str, event_type: int, data_set: bytes
    ) -> tuple[Outcome, bytes | None]:
        """N-EVENT-REPORT (PS3.7 10.1.1); raises `osteon.dimse.errors.RequestorError` when there is no answer."""


class AssociationHandler(Protocol):
    """One per association, made by the acceptor's factory once the association is accepted."""

    async def echo(self) -> Outcome:
        """Answer a C-ECHO (PS3.7 9.1.5)."""

    def store(self, request: StoreRequest, context: PresentationContext) -> StoreSink | Outcome:
        """Begin a C-STORE. An `Outcome` refuses it at once; its data set is then read and discarded."""

    def find(self, request: FindRequest) -> AsyncIterator[FindResponse]:
        """Answer a C-FIND: pending responses, then a final one.

        The acceptor closes the iterator (`aclose`) when the requester cancels, and answers 0xFE00 itself.
        """

    def move(self, request: MoveRequest) -> AsyncIterator[RetrieveResponse]:
        """Answer a C-MOVE: a pending response with each change, then a final one.

        Once `request.cancelled` is set: stop soon, and answer 0xFE00 unless all is done. When the association ends,
        the iterator is cancelled and closed.
        """

    def get(self, request: GetRequest) -> AsyncIterator[RetrieveResponse]:
        """Answer a C-GET, as `move` does."""

    async def action(self, request: ActionRequest, reporter: Reporter | None) -> Outcome:
        """Answer an N-ACTION (PS3.7 10.1.4). `reporter` may be used until `closed`."""

    async def report(self, report: EventReport) -> Outcome:
        """Answer an N-EVENT-REPORT (PS3.7 10.1.1): the peer provides the service and we use it."""

    async def closed(self) -> None:
        """The association has ended, in whatever way; no call follows."""


class RefusingHandler:
    """An association handler that does nothing but refuse; a base for those that do a little."""

    async def echo(self) -> Outcome:
        """Refuse C-ECHO: operation not supported."""
        return _NOT_SUPPORTED

    def store(self, request: StoreRequest, context: PresentationContext) -> StoreSink | Outcome:  # noqa: ARG002
        """Refuse C-STORE: operation not supported."""
        return _NOT_SUPPORTED

    async def find(self, request: FindRequest) -> AsyncIterator[FindResponse]:  # noqa: ARG002
        """Refuse C-FIND: operation not supported."""
        yield FindResponse(_NOT_SUPPORTED.status, None, _NOT_SUPPORTED.comment)

    async def move(self, request: MoveRequest) -> AsyncIterator[RetrieveResponse]:  # noqa: ARG002
        """Refuse C-MOVE: operation not supported."""
        yield RetrieveResponse(_NOT_SUPPORTED.status, comment=_NOT_SUPPORTED.comment)

    async def get(self, request: GetRequest) -> AsyncIterator[RetrieveResponse]:  # noqa: ARG002
        """Refuse C-GET: operation not supported."""
        yield RetrieveResponse(_NOT_SUPPORTED.status, comment=_NOT_SUPPORTED.comment)

    async def action(self, request: ActionRequest, reporter: Reporter | None) -> Outcome:  # noqa: ARG002
        """Refuse N-ACTION: operation not supported."""
        return _NOT_SUPPORTED

    async def report(self, report: EventReport) -> Outcome:  # noqa: ARG002
        """Refuse N-EVENT-REPORT: operation not supported."""
        return _NOT_SUPPORTED

    async def closed(self) -> None:
        """Hold nothing that would have to be closed."""


_NOT_SUPPORTED = Outcome(Status.UNRECOGNIZED_OPERATION, "operation not supported")
