"""Listens for associations and answers them: the acceptor's side of PS3.8."""

import asyncio
from collections.abc import Callable, Set
from contextlib import suppress
from functools import partial
from typing import ParamSpec

from osteon.dimse.association import AcceptedAssociation
from osteon.dimse.association_counts import AssociationCounts
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationHandler, AssociationInfo
from osteon.dimse.observer import AcceptorObserver, AssociationEnd, RejectReason
from osteon.dimse.proxy_protocol import Address, ProxyProtocolReader
from osteon.dimse.read_turns import ReadTurns
from osteon.dimse.tls import TlsContextProvider
from osteon.dimse.tls_transport import TlsTransport
from osteon.dimse.transport import TransportConnection
from osteon.logging import get_logger

P = ParamSpec("P")
HandlerFactory = Callable[[AssociationInfo], AssociationHandler]

_READ_SIZE = 256 << 10
_BACKLOG = 1024
_ABORT_SECONDS = 1.0
"""Seconds that a peer has to read A-ABORT when the acceptor closes."""
_HANDLER_SECONDS = 10.0
"""Seconds that handlers have to finish after their associations were aborted."""
log = get_logger(__name__)


class Acceptor:
    """The listening ports of one AE.

    `handler_factory` is called once an association is accepted, on the event loop; when it raises, the association is
    rejected: as `AssociationRefused` says, else transient, temporary congestion. `observer` is called for every
    accepted, rejected and ended association.
    """

    def __init__(
        self, config: AcceptorConfig, handler_factory: HandlerFactory, observer: AcceptorObserver | None = None
    ) -> None:
        self.config = config
        self.handler_factory = handler_factory
        self._observer = observer or AcceptorObserver()
        self._servers: list[asyncio.Server] = []
        self._closing = False
        self._connections: set[AcceptedAssociation] = set()
        self._associations: set[AcceptedAssociation] = set()
        self._counts = AssociationCounts(config)
        self._waiting: dict[AcceptedAssociation, None] = {}
        self._reset_timer: asyncio.TimerHandle | None = None
        self._handlers_closing: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def associations(self) -> int:
        """Associations that are open now."""
        return len(self._associations)

    @property
    def connections(self) -> Set[AcceptedAssociation]:
        """The open connections, with and without an association."""
        return self._connections

    @property
    def waiting(self) -> int:
        """Open connections without an association; `max_waiting` bounds them."""
        return len(self._waiting)

    @property
    def handlers_closing(self) -> int:
        """Handlers of ended associations that have not finished closing."""
        return len(self._handlers_closing)

    async def start(self, host: str, port: int, tls: TlsContextProvider | None = None, *, proxied: bool = False) -> int:
        """Listen; return the port, which the system chooses when `port` is 0. Raises `OSError` when it cannot.

        With `tls` associations on this port are secure: it returns the context of each connection. Call it again for
        a further port; limits and timers are those of all ports together. `proxied`: a balancer sends the PROXY
        protocol first.
        """
        loop = asyncio.get_running_loop()
        turns = ReadTurns(loop, _READ_SIZE)

        def accept(remote: Address | None = None) -> AcceptedAssociation:
            association = AcceptedAssociation(loop, self, turns, remote)
            self._connections.add(association)
            return association

        def secure(context: TlsContextProvider, encrypted: ReadTurns, remote: Address | None = None) -> TlsTransport:
            return TlsTransport(loop, accept(remote), context(), encrypted)

        def plain(remote: Address | None = None) -> TransportConnection:
            return accept(remote).protocol

        self._closing = False
        protocol = plain if tls is None else partial(secure, tls, ReadTurns(loop, _READ_SIZE))
        first = partial(ProxyProtocolReader, loop, protocol, self.config.artim_timeout) if proxied else protocol
        server = await loop.create_server(first, host, port, backlog=_BACKLOG, reuse_address=True)
        self._servers.append(server)
        if self._reset_timer is None:
            self._check_resets()
        return int(server.sockets[0].getsockname()[1])

    async def close(self, grace: float = 0.0) -> None:
        """Stop listening, wait at most `grace` seconds for the associations to end, then abort what is left.

        On return every handler's `closed` has run, or was cancelled after a further ten seconds.
        """
        self._closing = True
        for server in self._servers:
            server.close()
        for association in list(self._connections):
            association.close_if_unused()
        await self._until(lambda: not self._associations, grace)
        for association in list(self._connections):
            association.upper_layer.abort(AssociationEnd.SHUT_DOWN, "the acceptor closes")
        await self._until(lambda: not self._connections, _ABORT_SECONDS)
        for association in list(self._connections):
            association.upper_layer.close()
        await self._until(lambda: not self._connections, _ABORT_SECONDS)
        self._servers.clear()
        if self._reset_timer is not None:
            self._reset_timer.cancel()
            self._reset_timer = None
        if self._handlers_closing:
            _, late = await asyncio.wait(self._handlers_closing, timeout=_HANDLER_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # What associations call.

    def admit(self, info: AssociationInfo) -> RejectReason | None:
        """Return why no further association can be taken, or not from there, or None."""
        if self._closing:
            return RejectReason.TEMPORARY_CONGESTION
        limit = self._counts.exceeded(info)
        if limit is None:
            return None
        self._notify(self._observer.limited, info, limit)
        return RejectReason.LOCAL_LIMIT_EXCEEDED

    def accepted(self, association: AcceptedAssociation) -> None:
        """Count an association that was accepted, and report it to the observer."""
        self._associations.add(association)
        self._waiting.pop(association, None)
        if association.info is not None:
            self._counts.add(association.info)
            self._notify(self._observer.accepted, association.info)

    def rejected(self, info: AssociationInfo, reason: RejectReason) -> None:
        """Report a rejection to the observer."""
        self._notify(self._observer.rejected, info, reason)

    def ended(self, association: AcceptedAssociation, how: AssociationEnd) -> None:
        """Close the handler of an association that has ended."""
        self._associations.discard(association)
        self.connection_opened(association)
        self._changed.set()
        if association.info is not None:
            self._counts.remove(association.info)
            self._notify(self._observer.ended, association.info, how)
        task = asyncio.get_running_loop().create_task(association.wait_closed())
        self._handlers_closing.add(task)
        task.add_done_callback(self._handlers_closing.discard)

    def unused(self, how: AssociationEnd) -> None:
        """Report a connection that ended without an association to the observer."""
        self._notify(self._observer.unused, how)

    def connection_opened(self, association: AcceptedAssociation) -> None:
        """Count a connection without an association, and close the one that waits longest when there are too many.

        Not the newest: most peers request an association at once, so they get through while a client does nothing
        but connect.
        """
        self._waiting[association] = None
        if len(self._waiting) > self.config.max_waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.evict()

    def connection_closed(self, association: AcceptedAssociation) -> None:
        """Remove a connection, with an association or without."""
        self._connections.discard(association)
        self._waiting.pop(association, None)
        self._changed.set()

    def _check_resets(self) -> None:
        for association in tuple(self._associations):
            association.protocol.check_reset()
        self._reset_timer = asyncio.get_running_loop().call_later(self.config.reset_check_interval, self._check_resets)

    def _notify(self, what: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        # A metric that fails must not end an association.
        try:
            what(*args, **kwargs)
        except Exception:
            log.exception("observer failed")

    async def _until(self, done: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
