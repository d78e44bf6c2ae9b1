"""C-FIND as SCP (PS3.7 9.1.2, PS3.4 C.4.1)."""

import asyncio
from collections.abc import AsyncIterator

from osteon.dimse.command import Command
from osteon.dimse.handler import AssociationHandler, FindRequest, FindResponse, Outcome, PresentationContext
from osteon.dimse.operation import Collecting, Operation, Peer
from osteon.dimse.status import Status
from osteon.logging import get_logger

_PENDING = {Status.PENDING, Status.PENDING_OPTIONAL_KEYS_UNSUPPORTED}
_FAILED = Outcome(Status.UNABLE_TO_PROCESS, "internal error")
_log = get_logger(__name__)


class FindOperation(Collecting):
    """A C-FIND: collects the Identifier, then sends what the handler finds."""

    def __init__(self, peer: Peer, context: PresentationContext, command: Command, limit: int) -> None:
        super().__init__(peer, context, command, limit)
        self._handler: AssociationHandler | None = None
        self._task: asyncio.Task[Outcome] | None = None
        self._cancelled = False

    def start(self, handler: AssociationHandler) -> Operation:
        """Wait for the Identifier, or refuse."""
        if self.sop_class_uid != self.context.abstract_syntax:
            return self.refuse(Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context"))
        if not self._command.has_data_set:
            return self.refuse(Outcome(Status.UNABLE_TO_PROCESS, "C-FIND without an Identifier"))
        self._handler = handler
        return self

    def collected(self, data_set: bytes) -> None:
        """Search."""
        if self._handler is not None:
            request = FindRequest(self.message_id, self.context, data_set)
            self._peer.spawn(self._run(self._handler, request))

    def cancel(self) -> None:
        """Stop searching and answer 0xFE00."""
        if not self._cancelled:
            self._cancelled = True
            if self._task is not None:
                self._task.cancel()

    def lost(self) -> None:
        """Stop searching: nobody wants to know."""
        self.cancel()

    async def _run(self, handler: AssociationHandler, request: FindRequest) -> None:
        outcome = Outcome(Status.CANCEL)
        if not self._cancelled:
            # A task of its own, because cancelling it must not cancel the answer.
            self._task = asyncio.create_task(self._search(handler, request))
            await asyncio.wait([self._task])
            if not self._task.cancelled() and not self._cancelled:
                outcome = self._task.result()
        await self._peer.drained()
        self.respond(outcome)

    async def _search(self, handler: AssociationHandler, request: FindRequest) -> Outcome:
        responses: AsyncIterator[FindResponse] | None = None
        try:
            responses = handler.find(request)
            async for response in responses:
                if response.status not in _PENDING:
                    return Outcome(response.status, response.comment)
                await self._peer.drained()
                self._send(Outcome(response.status, response.comment), response.identifier)
            _log.error("find_without_final_response")
        except Exception:
            _log.exception("find_failed")
        finally:
            await _close(responses)
        return _FAILED


async def _close(responses: AsyncIterator[FindResponse] | None) -> None:
    close = getattr(responses, "aclose", None)
    if close is not None:
        try:
            await close()
        except Exception:
            _log.exception("find_close_failed")
