"""The acceptor's end of one association."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Protocol

import structlog

from osteon.dimse import associate_rq, negotiation, pdu
from osteon.dimse.associate_rq import AssociateRequest
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.fsm import State
from osteon.dimse.handler import AssociationHandler, AssociationInfo
from osteon.dimse.message_exchange import MessageExchange
from osteon.dimse.observer import AssociationEnd, AssociationRefused, RejectReason
from osteon.dimse.service_user import ServiceUser
from osteon.dimse.upper_layer import Timeouts
from osteon.logging import get_logger

_log = get_logger(__name__)


class AcceptorCallbacks(Protocol):
    """The acceptor as an association sees it."""

    config: AcceptorConfig
    handler_factory: Callable[[AssociationInfo], AssociationHandler]

    def admit(self) -> RejectReason | None:
        """Return why no further association can be taken, or None."""

    def accepted(self, association: "AcceptedAssociation") -> None:
        """An association has begun."""

    def rejected(self, info: AssociationInfo, reason: RejectReason) -> None:
        """An association has been rejected."""

    def ended(self, association: "AcceptedAssociation", how: AssociationEnd) -> None:
        """An association has ended."""

    def unused(self, how: AssociationEnd) -> None:
        """There will be no association on a connection."""

    def waits(self, association: "AcceptedAssociation") -> None:
        """A connection is open."""

    def gone(self, association: "AcceptedAssociation") -> None:
        """The connection is closed."""


class AcceptedAssociation(MessageExchange):
    """A connection that somebody opened to us, and the association on it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        desk: AcceptorCallbacks,
        buffer: memoryview,
        remote: tuple[str, int] | None = None,
    ) -> None:
        """`remote` is who calls when somebody else made the connection for them."""
        config = desk.config
        super().__init__(loop, Timeouts(config.artim_timeout, config.dimse_timeout, config.network_timeout), buffer)
        self.info: AssociationInfo | None = None
        self.handler: AssociationHandler | None = None
        self._desk = desk
        self._remote = remote or ("", 0)
        self._secured_by = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the peer's address."""
        if not self._remote[0]:
            peer = transport.get_extra_info("peername") or ("", 0)
            self._remote = (str(peer[0]), int(peer[1]))
        super().connection_made(transport)
        self._desk.waits(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the acceptor."""
        super().connection_lost(exc)
        self._desk.gone(self)

    def secured(self, by: str) -> None:
        """Note how the connection became secure."""
        self._secured_by = by

    def insecure(self, why: str) -> None:
        """Close a connection that did not become secure."""
        self._finish(AssociationEnd.INSECURE, why)
        self.close()

    # Negotiation.

    def on_request(self, body: bytes) -> None:
        """Accept or reject."""
        asked = associate_rq.decode(body)
        info = self._describe(asked)
        reason = negotiation.refuse(self._desk.config, asked) or self._desk.admit()
        if reason is None:
            reason = self._accept(info, asked, body)
        if reason is not None:
            _log.warning("association_rejected", reason=reason.name, **_names(info))
            self._desk.rejected(info, reason)
            self.reject(pdu.reject(*reason.value))

    def _accept(self, info: AssociationInfo, asked: AssociateRequest, body: bytes) -> RejectReason | None:
        self._context.run(structlog.contextvars.bind_contextvars, correlation_id=info.id)
        config = self._desk.config
        try:
            agreement = negotiation.agree(config, asked, body)
            handler = self._context.copy().run(self._desk.handler_factory, info)
        except AssociationRefused as refused:
            return refused.reason
        except Exception:
            _log.exception("association_failed", **_names(info))
            return RejectReason.TEMPORARY_CONGESTION
        self.info, self.handler = info, handler
        invoker = self.begin_exchange(agreement, handler, config, performed=agreement.window, invoked=1)
        contexts = [accepted.context for accepted in agreement.contexts.values()]
        self.user = ServiceUser(invoker, contexts, is_requestor=False)
        details = {"contexts": len(agreement.contexts), "skipped": asked.skipped, "tls": self._secured_by}
        _log.info("association_accepted", **details, **_names(info))
        self._desk.accepted(self)
        self.established(agreement.answer)
        return None

    def _describe(self, asked: AssociateRequest) -> AssociationInfo:
        return AssociationInfo(
            id=secrets.token_hex(16),
            calling_aet=asked.calling_aet,
            called_aet=asked.called_aet,
            remote_host=self._remote[0],
            remote_port=self._remote[1],
            implementation_uid=asked.implementation_uid,
            implementation_version=asked.implementation_version,
            user_identity=asked.user_identity.user if asked.user_identity else "",
        )

    # The end.

    def on_ended(self, how: AssociationEnd, detail: str) -> None:
        """Stop what is in flight and tell the acceptor."""
        if self.info is None:
            # Health checks come all day long, and a flood of connections must not flood the log: both are counted.
            note = _log.debug if how in {AssociationEnd.LOST, AssociationEnd.CROWDED_OUT} else _log.info
            note = _log.warning if how is AssociationEnd.INSECURE else note
            note("connection_ended", how=how.value, detail=detail, remote=_address(self._remote))
            self._desk.unused(how)
            return
        self.end_exchange(how, detail)
        level = _log.info if how is AssociationEnd.RELEASED else _log.warning
        level("association_ended", how=how.value, detail=detail, **_names(self.info))
        self._desk.ended(self, how)

    def close_if_unused(self) -> None:
        """Close a connection on which no association was asked for yet."""
        if self.state is State.AWAITING_REQUEST:
            self.close()

    def crowd_out(self) -> None:
        """Close a connection without an association to make room for another."""
        self._finish(AssociationEnd.CROWDED_OUT)
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
