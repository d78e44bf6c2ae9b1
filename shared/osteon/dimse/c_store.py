"""C-ECHO and C-STORE as SCP (PS3.7 9.1.5 and 9.1.1)."""

import asyncio
from collections.abc import Awaitable

from osteon.dicom.uids import is_uid
from osteon.dimse.command import Command, CommandElement
from osteon.dimse.handler import AssociationHandler, Outcome, PresentationContext, StoreRequest, StoreSink
from osteon.dimse.operation import DimseOperation, OperationContext
from osteon.dimse.status import Status
from osteon.logging import get_logger

_FAILED = Outcome(Status.PROCESSING_FAILURE, "internal error")
log = get_logger(__name__)


class EchoOperation(DimseOperation):
    """A C-ECHO."""

    def start(self, handler: AssociationHandler) -> DimseOperation:
        """Ask the handler."""
        self._peer.spawn(self._run(handler))
        return self

    async def _run(self, handler: AssociationHandler) -> None:
        try:
            outcome = await handler.echo()
        except Exception:
            log.exception("C-ECHO failed")
            outcome = _FAILED
        await self._peer.drain()
        self.respond(outcome)


class StoreOperation(DimseOperation):
    """A C-STORE: its data set goes to the handler's sink as it comes."""

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command) -> None:
        super().__init__(peer, context, command)
        self._sink: StoreSink | None = None
        self._writing: asyncio.Task[None] | None = None

    def start(self, handler: AssociationHandler) -> DimseOperation:
        """Open the sink, or refuse."""
        wrong = self._check()
        if wrong is not None:
            return self.refuse(wrong)
        request = StoreRequest(
            message_id=self.message_id,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self._command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID),
            move_originator_aet=self._command.text(CommandElement.MOVE_ORIGINATOR_AET),
            move_originator_message_id=self._command.number(CommandElement.MOVE_ORIGINATOR_MESSAGE_ID),
        )
        try:
            opened = handler.store(request, self.context)
        except Exception:
            log.exception("C-STORE failed", sop_instance_uid=request.sop_instance_uid)
            opened = _FAILED
        if isinstance(opened, Outcome):
            return self.refuse(opened)
        self._sink = opened
        return self

    def _check(self) -> Outcome | None:
        if self.sop_class_uid != self.context.abstract_syntax:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context")
        if not is_uid(self._command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID)):
            return Outcome(Status.INVALID_SOP_INSTANCE, "(0000,1000) is not a UID")
        if not self._command.has_data_set:
            return Outcome(Status.CANNOT_UNDERSTAND, "C-STORE without a data set")
        return None

    def write(self, data: memoryview) -> Awaitable[None] | None:
        """Pass data to the sink."""
        if self._sink is None:
            return None
        try:
            waiting = self._sink.write(data)
        except Exception:
            self._fail()
            return None
        if waiting is None:
            return None
        self._writing = self._peer.spawn(self._settle(waiting))
        return self._writing

    def end(self) -> None:
        """The data set is complete: answer when the sink is certain."""
        if self._sink is None:
            super().end()
        else:
            self._peer.spawn(self._finish(self._sink))

    def abort(self) -> None:
        """The data set will not be completed."""
        if self._sink is not None:
            self._peer.spawn(self._abort(self._sink))
        else:
            super().abort()

    async def _settle(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except Exception:
            self._fail()

    async def _finish(self, sink: StoreSink) -> None:
        if self._writing is not None:
            await self._writing
        if self._sink is None:
            outcome = self._refusal or _FAILED
        else:
            try:
                outcome = await sink.finish()
            except Exception:
                log.exception(
                    "C-STORE failed", sop_instance_uid=self._command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID)
                )
                outcome = _FAILED
        await self._peer.drain()
        self.respond(outcome)

    async def _abort(self, sink: StoreSink) -> None:
        # The sink may still be at its last write: it is aborted only after that.
        if self._writing is not None:
            await self._writing
        if self._sink is not None:
            self._sink = None
            _abort_quietly(sink)
        super().abort()

    def _fail(self) -> None:
        """Called while an exception of the sink's `write` is handled."""
        log.exception("C-STORE failed", sop_instance_uid=self._command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID))
        sink, self._sink = self._sink, None
        self._refusal = _FAILED
        if sink is not None:
            _abort_quietly(sink)


def _abort_quietly(sink: StoreSink) -> None:
    try:
        sink.abort()
    except Exception:
        log.exception("C-STORE abort failed")
