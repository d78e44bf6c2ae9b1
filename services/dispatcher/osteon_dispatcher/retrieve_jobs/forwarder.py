"""Hands what a C-GET brings to the archive's own acceptor, piece by piece.

A sub-operation is answered when the acceptor has answered: with success only when the instance is on its disk. So it is
as safe as any that a modality sends, and memory is constant.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from osteon.dimse.config import Remote, RequestedContext, RequestorConfig
from osteon.dimse.handler import Outcome, PresentationContext, StoreRequest, StoreSink
from osteon.dimse.requestor import RequestedAssociation, associate
from osteon.dimse.status import Status
from osteon.errors import OsteonError

_BUFFERED: Final = 1 << 20
"""Bytes that wait for the acceptor, beside those that have just come."""
OwnAcceptor = Callable[[], Remote]
"""Where the archive takes associations."""


class _SenderAborted(OsteonError):
    """The rest of a data set will not come."""


class StoreForwarder:
    """An association with the own acceptor. `problem` is why an instance was not taken, empty while all were."""

    def __init__(self, association: RequestedAssociation | None) -> None:
        self._association = association
        self.problem = ""

    def sink(self, request: StoreRequest, context: PresentationContext) -> StoreSink | Outcome:
        """Begin to hand on an instance."""
        if self._association is None:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED)
        accepted = self._association.context_for(context.abstract_syntax, context.transfer_syntax)
        if accepted is None:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, f"{context.abstract_syntax} is not accepted by this archive")
        return _Sink(self, self._association, request, accepted)


@asynccontextmanager
async def open_forwarder(
    acceptor: OwnAcceptor, contexts: Sequence[PresentationContext], config: RequestorConfig
) -> AsyncIterator[StoreForwarder]:
    """Hold an association with the acceptor that has the same contexts; none if there are none."""
    if not contexts:
        yield StoreForwarder(None)
        return
    proposed = [
        RequestedContext(abstract_syntax=each.abstract_syntax, transfer_syntaxes=(each.transfer_syntax,))
        for each in contexts
    ]
    async with associate(acceptor(), proposed, config=config) as association:
        yield StoreForwarder(association)


class _Sink:
    """Hands on one instance."""

    def __init__(
        self,
        owner: StoreForwarder,
        association: RequestedAssociation,
        request: StoreRequest,
        context: PresentationContext,
    ) -> None:
        self._owner = owner
        self._parts: deque[bytes | None] = deque()
        self._held = 0
        self._came = asyncio.Event()
        self._went = asyncio.Event()
        self._broken = False
        self._storing = asyncio.create_task(self._store(association, request, context))

    def write(self, fragment: memoryview) -> Awaitable[None] | None:
        """Take the next bytes; to be awaited when the acceptor is slower than they come."""
        self._parts.append(bytes(fragment))
        self._held += len(fragment)
        self._came.set()
        return self._room() if self._held > _BUFFERED else None

    async def finish(self) -> Outcome:
        """Return the acceptor's answer."""
        self._parts.append(None)
        self._came.set()
        return await self._storing

    def abort(self) -> None:
        """Abort: the acceptor keeps no part of the instance."""
        self._broken = True
        self._came.set()

    async def _room(self) -> None:
        while self._held > _BUFFERED and not self._storing.done():
            self._went.clear()
            await self._went.wait()

    async def _source(self) -> AsyncIterator[bytes]:
        while True:
            while not self._parts and not self._broken:
                self._came.clear()
                await self._came.wait()
            if self._broken:
                raise _SenderAborted("the modality aborted")
            if (part := self._parts.popleft()) is None:
                return
            self._held -= len(part)
            self._went.set()
            yield part

    async def _store(
        self, association: RequestedAssociation, request: StoreRequest, context: PresentationContext
    ) -> Outcome:
        try:
            outcome = await association.store(
                context, request.sop_class_uid, request.sop_instance_uid, self._source(), length=None
            )
        except _SenderAborted:
            return Outcome(Status.PROCESSING_FAILURE)
        except OsteonError as error:
            outcome = Outcome(Status.OUT_OF_RESOURCES, str(error)[:64])
        finally:
            self._went.set()
        if outcome.status.is_failure:
            self._owner.problem = f"{request.sop_instance_uid}: 0x{outcome.status:04X} {outcome.comment}".rstrip()
        return outcome
