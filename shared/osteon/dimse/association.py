"""The acceptor's end of one association."""

import asyncio
import logging
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
from osteon.dimse.pdu import PduType
from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.service_user import ServiceUser
from osteon.dimse.transport import TransportConnection
from osteon.dimse.upper_layer import Timeouts, UpperLayer
from osteon.logging import get_logger

# Health checks come all day long, and a flood of connections must not flood the log: both are counted.
_UNUSED_SEVERITY = {
    AssociationEnd.LOST: logging.DEBUG,
    AssociationEnd.CROWDED_OUT: logging.DEBUG,
    AssociationEnd.INSECURE: logging.WARNING,
}
log = get_logger(__name__)


class AcceptorCallbacks(Protocol):
    """The acceptor as an association sees it."""

    config: AcceptorConfig
    handler_factory: Callable[[AssociationInfo], AssociationHandler]

    def admit(self, info: AssociationInfo) -> RejectReason | None:
        """Return why no further association can be taken, or not from there, or None."""

    def accepted(self, association: "AcceptedAssociation") -> None:
        """An association has begun."""

    def rejected(self, info: AssociationInfo, reason: RejectReason) -> None:
        """An association has been rejected."""

    def ended(self, association: "AcceptedAssociation", how: AssociationEnd) -> None:
        """An association has ended."""

    def unused(self, how: AssociationEnd) -> None:
        """There will be no association on a connection."""

    def connection_opened(self, association: "AcceptedAssociation") -> None:
        """A connection is open."""

    def connection_closed(self, association: "AcceptedAssociation") -> None:
        """The connection is closed."""


class AcceptedAssociation:
    """An association that a peer requests, from the opening of its connection to the end of its handler."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        callbacks: AcceptorCallbacks,
        turns: ReadTurns,
        remote: tuple[str, int] | None = None,
    ) -> None:
        """`remote` is the address of the caller when a balancer made the connection."""
        config = callbacks.config
        timeouts = Timeouts(config.artim_timeout, config.dimse_timeout, config.network_timeout, config.pdu_timeout)
        self.upper_layer = UpperLayer(loop, timeouts, turns, self)
        self.exchange = MessageExchange(self.upper_layer)
        self.info: AssociationInfo | None = None
        self.handler: AssociationHandler | None = None
        self._callbacks = callbacks
        self._remote = remote or ("", 0)
        self._secured_by = ""

    @property
    def protocol(self) -> TransportConnection:
        """What the loop, or a transport in between, gives the connection's bytes to."""
        return self.upper_layer.transport

    def on_connected(self) -> None:
        """Keep the peer's address, unless a balancer gave it, and report the connection to the acceptor."""
        if not self._remote[0]:
            peer = self.protocol.extra_info("peername") or ("", 0)
            self._remote = (str(peer[0]), int(peer[1]))
        self._callbacks.connection_opened(self)

    def on_disconnected(self) -> None:
        """Report the end of the connection to the acceptor."""
        self._callbacks.connection_closed(self)

    def secured(self, by: str) -> None:
        """Keep how the connection became secure, for the log."""
        self._secured_by = by

    def insecure(self, why: str) -> None:
        """Close a connection that did not become secure."""
        self.upper_layer.end(AssociationEnd.INSECURE, why)

    # Negotiation.

    def on_associate(self, kind: PduType, body: bytes) -> None:  # noqa: ARG002  # an acceptor gets one kind only
        """Accept the request, or reject it and say why."""
        request = associate_rq.decode(body)
        info = self._describe(request)
        reason = negotiation.refuse(self._callbacks.config, request) or self._callbacks.admit(info)
        if reason is None:
            reason = self._accept(info, request, body)
        if reason is not None:
            log.warning("association rejected", reason=reason.name, **_names(info))
            self._callbacks.rejected(info, reason)
            self.upper_layer.reject(pdu.reject(*reason.value))

    def _accept(self, info: AssociationInfo, request: AssociateRequest, body: bytes) -> RejectReason | None:
        self.exchange.context.run(structlog.contextvars.bind_contextvars, correlation_id=info.id)
        config = self._callbacks.config
        try:
            agreement = negotiation.agree(config, request, body)
            handler = self.exchange.context.copy().run(self._callbacks.handler_factory, info)
        except AssociationRefused as refused:
            return refused.reason
        except Exception:
            log.exception("association failed", **_names(info))
            return RejectReason.TEMPORARY_CONGESTION
        self.info, self.handler = info, handler
        invoker = self.exchange.begin(agreement, handler, config, performed=agreement.window, invoked=1)
        contexts = [accepted.context for accepted in agreement.contexts.values()]
        self.exchange.user = ServiceUser(invoker, contexts, is_requestor=False)
        details = {"contexts": len(agreement.contexts), "skipped": request.skipped, "tls": self._secured_by}
        log.info("association accepted", **details, **_names(info))
        self._callbacks.accepted(self)
        self.upper_layer.establish(agreement.answer)
        return None

    def _describe(self, request: AssociateRequest) -> AssociationInfo:
        return AssociationInfo(
            id=secrets.token_hex(16),
            calling_aet=request.calling_aet,
            called_aet=request.called_aet,
            remote_host=self._remote[0],
            remote_port=self._remote[1],
            implementation_uid=request.implementation_uid,
            implementation_version=request.implementation_version,
            user_identity=request.user_identity.user if request.user_identity else "",
        )

    # The end.

    def on_ended(self, how: AssociationEnd, detail: str) -> None:
        """Stop what is in flight and report the end to the acceptor."""
        if self.info is None:
            severity = _UNUSED_SEVERITY.get(how, logging.INFO)
            log.log(severity, "connection ended", how=how.value, detail=detail, remote=_address(self._remote))
            self._callbacks.unused(how)
            return
        self.exchange.end(how, detail)
        severity = logging.INFO if how is AssociationEnd.RELEASED else logging.WARNING
        log.log(severity, "association ended", how=how.value, detail=detail, **_names(self.info))
        self._callbacks.ended(self, how)

    def close_if_unused(self) -> None:
        """Close a connection on which no association was requested yet."""
        if self.upper_layer.state is State.AWAITING_REQUEST:
            self.upper_layer.close()

    def evict(self) -> None:
        """Close a connection without an association to make room for another."""
        self.upper_layer.end(AssociationEnd.CROWDED_OUT)

    async def wait_closed(self) -> None:
        """Wait for what is in flight, then close the handler. When cancelled, cancel what is in flight."""
        try:
            while self.exchange.tasks:
                await asyncio.wait(self.exchange.tasks)
        except asyncio.CancelledError:
            for task in self.exchange.tasks:
                task.cancel()
            raise
        finally:
            try:
                if self.handler is not None:
                    await self.handler.closed()
            except Exception:
                log.exception("association close failed", **({} if self.info is None else _names(self.info)))


def _names(info: AssociationInfo) -> dict[str, object]:
    return {
        "correlation_id": info.id,
        "calling_aet": info.calling_aet,
        "called_aet": info.called_aet,
        "remote": _address((info.remote_host, info.remote_port)),
    }


def _address(remote: tuple[str, int]) -> str:
    return f"{remote[0]}:{remote[1]}"
