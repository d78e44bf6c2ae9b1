"""Operations with pending responses before the final one: C-FIND, C-GET, C-MOVE (PS3.7 9.1.2 to 9.1.4)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from osteon.dimse.command import Command
from osteon.dimse.handler import FindResponse, Outcome, PresentationContext, RetrieveResponse
from osteon.dimse.operation import BufferedOperation, OperationContext
from osteon.dimse.status import Status
from osteon.logging import get_logger

R = TypeVar("R", FindResponse, RetrieveResponse)
log = get_logger(__name__)


class MultiResponseOperation(BufferedOperation, Generic[R]):
    """Collects the Identifier, then sends what the handler yields; a subclass says how."""

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command) -> None:
        super().__init__(peer, context, command)
        self._task: asyncio.Task[R] | None = None
        self._stopped = False

    # What a subclass provides.

    def responses(self, identifier: bytes) -> AsyncIterator[R]:
        """Return the handler's responses to the request."""
        raise NotImplementedError

    def send_pending(self, response: R) -> None:
        """Send a pending response."""
        raise NotImplementedError

    def send_final(self, response: R) -> None:
        """Send the final response."""
        raise NotImplementedError

    def final(self, outcome: Outcome) -> R:
        """Return the final response when the handler has none."""
        raise NotImplementedError

    # The operation.

    def check(self) -> Outcome | None:
        """Return why the request is refused: a wrong SOP class, or no Identifier."""
        if self.sop_class_uid != self.context.abstract_syntax:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context")
        if not self._command.has_data_set:
            return Outcome(Status.UNABLE_TO_PROCESS, f"{self.name} without an Identifier")
        return None

    def perform(self, data_set: bytes) -> None:
        """Pass the Identifier to the handler and send its responses."""
        self._peer.spawn(self._run(data_set))

    def on_association_end(self) -> None:
        """Stop the handler: there is no peer left to answer."""
        if not self._stopped:
            self._stopped = True
            if self._task is not None:
                self._task.cancel()

    async def _run(self, identifier: bytes) -> None:
        response = None
        if not self._stopped:
            # A task of its own, because cancelling it must not cancel the answer.
            self._task = asyncio.create_task(self._send_all_pending(identifier))
            await asyncio.wait([self._task])
            if not self._task.cancelled() and not self._stopped:
                response = self._task.result()
        await self._peer.drain()
        self.send_final(response or self.final(Outcome(Status.CANCEL)))

    async def _send_all_pending(self, identifier: bytes) -> R:
        """Send the pending responses; return the final one."""
        responses: AsyncIterator[R] | None = None
        try:
            responses = self.responses(identifier)
            async for response in responses:
                if not response.status.is_pending:
                    return response
                await self._peer.drain()
                self.send_pending(response)
            log.error("final response missing", operation=self.name)
        except Exception:
            log.exception("operation failed", operation=self.name)
        finally:
            try:
                if (close := getattr(responses, "aclose", None)) is not None:
                    await close()
            except Exception:
                log.exception("operation close failed", operation=self.name)
        return self.final(Outcome(Status.UNABLE_TO_PROCESS, "internal error"))
