"""The requestor's end of one association."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress

from osteon.dimse import associate_rq_encoder
from osteon.dimse.config import Remote, RequestedContext, RequestorConfig
from osteon.dimse.connect_failure import format_address
from osteon.dimse.errors import RequestorError
from osteon.dimse.fsm import State
from osteon.dimse.handler import (
    EventReport,
    Outcome,
    PresentationContext,
    RefusingHandler,
    RetrieveResponse,
    StoreRequest,
    StoreSink,
)
from osteon.dimse.invoker import Invoker
from osteon.dimse.message_exchange import MessageExchange, end_to_error
from osteon.dimse.observer import AssociationEnd
from osteon.dimse.pdu import PduType
from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.service_user import ServiceUser
from osteon.dimse.status import Status
from osteon.dimse.upper_layer import Timeouts, UpperLayer
from osteon.logging import get_logger

Sinks = Callable[[StoreRequest, PresentationContext], StoreSink | Outcome]
Reports = Callable[[EventReport], Awaitable[Outcome]]
_READ_SIZE = 128 << 10
_ABORT_SECONDS = 1.0
"""Seconds that a peer has to read A-ABORT before the connection is closed."""
log = get_logger(__name__)


class IncomingRequests(RefusingHandler):
    """Requests that a requestor serves: the sub-operations of C-GET, and event reports."""

    def __init__(self, reports: Reports | None) -> None:
        self.sinks: Sinks | None = None
        self._reports = reports

    def store(self, request: StoreRequest, context: PresentationContext) -> StoreSink | Outcome:
        """Begin a sub-operation of the C-GET that runs now."""
        if self.sinks is None:
            return Outcome(Status.PROCESSING_FAILURE, "no C-GET is in progress")
        return self.sinks(request, context)

    async def report(self, report: EventReport) -> Outcome:
        """Pass on an event report."""
        return await super().report(report) if self._reports is None else await self._reports(report)


class RequestorConnection:
    """A connection that this side opened, and the association on it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        remote: Remote,
        contexts: Sequence[RequestedContext],
        config: RequestorConfig,
        requests: IncomingRequests,
    ) -> None:
        timeouts = Timeouts(
            remote.timeout or config.artim_timeout,
            remote.timeout or config.dimse_timeout,
            config.network_timeout,
            config.pdu_timeout,
        )
        self.upper_layer = UpperLayer(loop, timeouts, ReadTurns(loop, _READ_SIZE), self, is_requestor=True)
        self.exchange = MessageExchange(self.upper_layer)
        self.answer: asyncio.Future[Invoker] = loop.create_future()
        """The association, or why there is none."""
        self.over = asyncio.Event()
        """The association has ended, or there never was one."""
        self.closed = asyncio.Event()
        """The connection is closed."""
        self.agreed: tuple[PresentationContext, ...] = ()
        self._request = associate_rq_encoder.encode(remote, contexts, config)
        self._contexts = contexts
        self._config = config
        self._requests = requests
        self._names = {
            "called_aet": remote.aet,
            "calling_aet": remote.calling_aet,
            "remote": format_address(remote.host, remote.port),
        }

    def on_connected(self) -> None:
        """Send A-ASSOCIATE-RQ (AE-2)."""
        self.upper_layer.transport.send(self._request)
        self._request = b""

    def on_disconnected(self) -> None:
        """Wake `RequestedAssociation.close`."""
        self.closed.set()

    def on_associate(self, kind: PduType, body: bytes) -> None:
        """Begin, or not (AE-3, AE-4)."""
        if kind is PduType.ASSOCIATE_RJ:
            rejection = associate_rq_encoder.rejection(body)
            self._refuse_all(rejection)
            self.upper_layer.end(AssociationEnd.REJECTED, str(rejection))
            return
        agreement = associate_rq_encoder.agree(self._contexts, associate_rq_encoder.decode(body), self._config)
        self.agreed = tuple(accepted.context for accepted in agreement.contexts.values())
        invoker = self.exchange.begin(agreement, self._requests, self._config, performed=1, invoked=agreement.window)
        log.debug("association begun", contexts=len(self.agreed), **self._names)
        self.upper_layer.establish()
        if not self.answer.done():
            self.answer.set_result(invoker)

    def _refuse_all(self, error: RequestorError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def on_ended(self, how: AssociationEnd, detail: str) -> None:
        """Report the end to the callers that wait."""
        severity = logging.DEBUG if how in {AssociationEnd.RELEASED, AssociationEnd.REJECTED} else logging.WARNING
        log.log(severity, "association ended", how=how.value, detail=detail, **self._names)
        self._refuse_all(end_to_error(how, detail, self._names["remote"]))
        self.exchange.end(how, detail)
        self.over.set()


class RequestedAssociation(ServiceUser):
    """An association that this side requested: what `ServiceUser` does, and C-GET with its sub-operations."""

    def __init__(self, connection: RequestorConnection, invoker: Invoker, requests: IncomingRequests) -> None:
        super().__init__(invoker, connection.agreed, is_requestor=True)
        self._connection = connection
        self._requests = requests

    @property
    def open(self) -> bool:
        """Operations can be requested."""
        return self._connection.upper_layer.state is State.ESTABLISHED

    async def get(
        self, context: PresentationContext, identifier: bytes, sinks: Sinks
    ) -> AsyncGenerator[RetrieveResponse]:
        """C-GET: yield responses as `find` does.

        `sinks` is called for each instance that comes, on contexts whose `scp` is true; an `Outcome` refuses it. One
        C-GET at a time.
        """
        await self.invoker.quiet()
        self._requests.sinks = sinks
        try:
            async with aclosing(self.retrieve(context, identifier)) as responses:
                async for response in responses:
                    yield response
        finally:
            self._requests.sinks = None

    async def release(self) -> None:
        """Release the association once all is answered, within ARTIM; else abort it. Return when it is closed."""
        connection = self._connection
        try:
            async with asyncio.timeout(connection.upper_layer.timeouts.artim):
                await self.invoker.quiet()
        except TimeoutError:
            connection.upper_layer.abort(AssociationEnd.TIMED_OUT, "an operation that was cancelled did not end")
        connection.upper_layer.release()
        await connection.over.wait()
        await self.close()

    async def abort(self) -> None:
        """Abort the association. Return when it is closed."""
        self._connection.upper_layer.abort(AssociationEnd.FAILED, "the requestor aborts")
        await self.close()

    async def close(self) -> None:
        """Wait a moment for the peer to close and for sinks to end, then close."""
        connection = self._connection
        with suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_SECONDS):
                await connection.closed.wait()
        connection.upper_layer.close()
        if connection.exchange.tasks:
            _, late = await asyncio.wait(connection.exchange.tasks, timeout=_ABORT_SECONDS)
            for task in late:
                task.cancel()
