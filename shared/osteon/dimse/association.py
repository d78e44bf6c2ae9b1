"""The acceptor's end of one association."""

import asyncio
import contextvars
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

import structlog

from osteon.dimse import negotiation, pdu, proposal
from osteon.dimse.command import Command, CommandField
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.connection import Connection, Timeouts
from osteon.dimse.fsm import State
from osteon.dimse.handler import AssociationHandler, AssociationInfo
from osteon.dimse.message import DataSetTarget, MessageReader
from osteon.dimse.negotiation import AcceptedContext, Agreement
from osteon.dimse.observer import Ended, Rejected
from osteon.dimse.operation import Operation
from osteon.dimse.proposal import Proposal
from osteon.dimse.services import ServiceProvider
from osteon.logging import get_logger

_log = get_logger(__name__)


class Desk(Protocol):
    """The acceptor as an association sees it."""

    config: AcceptorConfig
    handler_factory: Callable[[AssociationInfo], AssociationHandler]

    def admit(self) -> Rejected | None:
        """Return why no further association can be taken, or None."""

    def accepted(self, association: "AcceptedAssociation") -> None:
        """An association has begun."""

    def rejected(self, info: AssociationInfo, reason: Rejected) -> None:
        """An association has been rejected."""

    def ended(self, association: "AcceptedAssociation", how: Ended) -> None:
        """An association has ended."""

    def unused(self, how: Ended) -> None:
        """There will be no association on a connection."""

    def waits(self, association: "AcceptedAssociation") -> None:
        """A connection is open."""

    def gone(self, association: "AcceptedAssociation") -> None:
        """The connection is closed."""


class AcceptedAssociation(Connection):
    """A connection that somebody opened to us, and the association on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, desk: Desk, buffer: memoryview) -> None:
        config = desk.config
        super().__init__(loop, Timeouts(config.artim_timeout, config.dimse_timeout, config.network_timeout), buffer)
        self.info: AssociationInfo | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.handler: AssociationHandler | None = None
        self._desk = desk
        self._remote = ("", 0)
        self._agreement: Agreement | None = None
        self._reader: MessageReader | None = None
        self._services: ServiceProvider | None = None
        self._context = contextvars.copy_context()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the peer's address."""
        peer = transport.get_extra_info("peername") or ("", 0)
        self._remote = (str(peer[0]), int(peer[1]))
        super().connection_made(transport)
        self._desk.waits(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the acceptor."""
        super().connection_lost(exc)
        self._desk.gone(self)

    # Negotiation.

    def on_request(self, body: bytes) -> None:
        """Accept or reject."""
        asked = proposal.decode(body)
        info = self._describe(asked)
        reason = negotiation.refuse(self._desk.config, asked) or self._desk.admit()
        if reason is None:
            reason = self._accept(info, asked, body)
        if reason is not None:
            _log.warning("association_rejected", reason=reason.name, **_names(info))
            self._desk.rejected(info, reason)
            self.reject(pdu.reject(*reason.value))

    def _accept(self, info: AssociationInfo, asked: Proposal, body: bytes) -> Rejected | None:
        self._context.run(structlog.contextvars.bind_contextvars, correlation_id=info.id)
        config = self._desk.config
        try:
            agreement = negotiation.agree(config, asked, body)
            handler = self._context.copy().run(self._desk.handler_factory, info)
        except Exception:
            _log.exception("association_failed", **_names(info))
            return Rejected.TEMPORARY_CONGESTION
        self.info, self.handler, self._agreement = info, handler, agreement
        self._services = ServiceProvider(self, handler, config, agreement.window)
        self._reader = MessageReader(agreement.contexts, self._begin, self._wait, config.max_command)
        _log.info("association_accepted", contexts=len(agreement.contexts), skipped=asked.skipped, **_names(info))
        self._desk.accepted(self)
        self.established(agreement.answer)
        return None

    def _describe(self, asked: Proposal) -> AssociationInfo:
        return AssociationInfo(
            id=uuid.uuid4().hex,
            calling_aet=asked.calling_aet,
            called_aet=asked.called_aet,
            remote_host=self._remote[0],
            remote_port=self._remote[1],
            implementation_uid=asked.implementation_uid,
            implementation_version=asked.implementation_version,
            user_identity=asked.user_identity.user if asked.user_identity else "",
        )

    # Messages.

    def on_fragment(self, context_id: int, control: int, data: memoryview, end: bool) -> None:
        """Pass on what has come."""
        if self._reader is not None:
            self._reader.fragment(context_id, control, data, end)

    def message_begun(self) -> bool:
        """A message has begun that is not complete."""
        return self._reader is not None and self._reader.begun

    def busy(self) -> bool:
        """Operations are in flight."""
        return self._services is not None and self._services.busy

    def _begin(self, context: AcceptedContext, command: Command) -> DataSetTarget | None:
        services = self._services
        if services is None:
            return None
        if command.field != CommandField.C_CANCEL_RQ and (services.full or self.congested):
            self.hold()
            return None
        return self._context.copy().run(services.begin, context, command)

    def _wait(self, waiting: Awaitable[None]) -> None:
        self.hold()
        self.spawn(self._wait_for(waiting))

    async def _wait_for(self, waiting: Awaitable[None]) -> None:
        await waiting
        if self.state is not State.IDLE:
            self.resume()

    def _proceed(self) -> None:
        if self._reader is not None and self._reader.waiting and self.state is not State.CLOSING:
            self.guard(self._reader.proceed)
            if not self._reader.waiting:
                self.resume()

    # What operations ask for.

    def send_message(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        """Send a whole message while the state allows data (DT-1, AR-7)."""
        if self._agreement is None or self.state not in {State.ESTABLISHED, State.RELEASE_INDICATED}:
            return
        limit = self._agreement.send_limit
        self.send(*pdu.fragment(context_id, pdu.COMMAND, command, limit))
        if data_set is not None:
            self.send(*pdu.fragment(context_id, 0, data_set, limit))

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run `work`; the handler is closed only after it."""
        task = self.loop.create_task(work, context=self._context.copy())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def answered(self, operation: Operation) -> None:
        """Begin what has waited for its turn, and release when all is answered."""
        if self._services is None:
            return
        self._services.answered(operation)
        if self.state is State.RELEASE_INDICATED and not self._services.busy:
            self.answer_release()
        self._proceed()
        self.rearm()

    def on_writable(self) -> None:
        """Begin what has waited for the peer to read."""
        self._proceed()

    # The end.

    def on_release(self) -> None:
        """Answer what is in flight, then confirm."""
        if self._services is None or self._reader is None:
            return
        self._reader.abort()
        self._services.stop()
        if not self._services.busy:
            self.answer_release()

    def on_ended(self, how: Ended, detail: str) -> None:
        """Stop what is in flight and tell the acceptor."""
        if self.info is None:
            # Health checks come all day long, and a flood of connections must not flood the log: both are counted.
            note = _log.debug if how in {Ended.LOST, Ended.CROWDED_OUT} else _log.info
            note("connection_ended", how=how.value, detail=detail, remote=_address(self._remote))
            self._desk.unused(how)
            return
        if self._reader is not None:
            self._reader.abort()
        if self._services is not None:
            self._services.stop()
        level = _log.info if how is Ended.RELEASED else _log.warning
        level("association_ended", how=how.value, detail=detail, **_names(self.info))
        self._desk.ended(self, how)

    def close_if_unused(self) -> None:
        """Close a connection on which no association was asked for yet."""
        if self.state is State.AWAITING_REQUEST:
            self.close()

    def crowd_out(self) -> None:
        """Close a connection without an association to make room for another."""
        self._finish(Ended.CROWDED_OUT)
        self.close()

    async def farewell(self) -> None:
        """Wait for what is in flight, then close the handler. When cancelled, cancel what is in flight."""
        try:
            while self.tasks:
                await asyncio.wait(self.tasks)
        except asyncio.CancelledError:
            for task in self.tasks:
                task.cancel()
            raise
        finally:
            if self.handler is not None:
                await self._close_handler(self.handler)

    async def _close_handler(self, handler: AssociationHandler) -> None:
        try:
            await handler.closed()
        except Exception:
            _log.exception("association_close_failed", **({} if self.info is None else _names(self.info)))


def _names(info: AssociationInfo) -> dict[str, object]:
    return {
        "correlation_id": info.id,
        "calling_aet": info.calling_aet,
        "called_aet": info.called_aet,
        "remote": _address((info.remote_host, info.remote_port)),
    }


def _address(remote: tuple[str, int]) -> str:
    return f"{remote[0]}:{remote[1]}"
