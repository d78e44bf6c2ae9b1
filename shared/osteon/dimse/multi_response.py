"""Operations with pending responses before the final one: C-FIND, C-GET, C-MOVE (PS3.7 9.1.2 to 9.1.4)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from osteon.dimse.handler import AssociationHandler, FindResponse, Outcome, RetrieveResponse
from osteon.dimse.operation import BufferedOperation, DimseOperation
from osteon.dimse.status import Status
from osteon.logging import get_logger

R = TypeVar("R", FindResponse, RetrieveResponse)
log = get_logger(__name__)


class MultiResponseOperation(BufferedOperation, Generic[R]):
    """Collects the Identifier, then sends what the handler yields; a subclass says how."""

    name = ""
    """Of the operation, for people."""
    _handler: AssociationHandler | None = None
    _task: asyncio.Task[R] | None = None
    _stopped = False

    def start(self, handler: AssociationHandler) -> DimseOperation:
        """Wait for the Identifier, or refuse."""
        if self.sop_class_uid != self.context.abstract_syntax:
            return self.refuse(Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context"))
        if not self._command.has_data_set:
            return self.refuse(Outcome(Status.UNABLE_TO_PROCESS, f"{self.name} without an Identifier"))
        self._handler = handler
        return self

    def collected(self, data_set: bytes) -> None:
        """Ask the handler."""
        if self._handler is not None:
            self._peer.spawn(self._run(self._handler, data_set))

    def on_association_end(self) -> None:
        """Stop: there is no peer left to answer."""
        if not self._stopped:
            self._stopped = True
            if self._task is not None:
                self._task.cancel()

    # What a subclass says.

    def ask(self, handler: AssociationHandler, identifier: bytes) -> AsyncIterator[R]:
        """Give the identifier to the handler."""
        raise NotImplementedError

    def pend(self, response: R) -> None:
        """Send a pending response."""
        raise NotImplementedError

    def conclude(self, response: R) -> None:
        """Send the final response."""
        raise NotImplementedError

    def final(self, outcome: Outcome) -> R:
        """Return the final response when the handler has none."""
        raise NotImplementedError

    async def _run(self, handler: AssociationHandler, identifier: bytes) -> None:
        response = None
        if not self._stopped:
            # A task of its own, because cancelling it must not cancel the answer.
            self._task = asyncio.create_task(self._responses(handler, identifier))
            await asyncio.wait([self._task])
            if not self._task.cancelled() and not self._stopped:
                response = self._task.result()
        await self._peer.drain()
        self.conclude(response or self.final(Outcome(Status.CANCEL)))

    async def _responses(self, handler: AssociationHandler, identifier: bytes) -> R:
        responses: AsyncIterator[R] | None = None
        try:
            responses = self.ask(handler, identifier)
            async for response in responses:
                if not response.status.is_pending:
                    return response
                await self._peer.drain()
                self.pend(response)
            log.error("final response missing", operation=self.name)
        except Exception:
            log.exception("operation failed", operation=self.name)
        finally:
            await self._close(responses)
        return self.final(Outcome(Status.UNABLE_TO_PROCESS, "internal error"))

    async def _close(self, responses: AsyncIterator[R] | None) -> None:
        close = getattr(responses, "aclose", None)
        if close is not None:
            try:
                await close()
            except Exception:
                log.exception("operation close failed", operation=self.name)
