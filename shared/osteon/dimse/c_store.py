"""C-ECHO and C-STORE as SCP (PS3.7 9.1.5 and 9.1.1)."""

import asyncio
from collections.abc import Awaitable

from osteon.dicom.uids import is_uid
from osteon.dimse.command import Command, CommandElement
from osteon.dimse.handler import Outcome, PresentationContext, StoreRequest, StoreSink
from osteon.dimse.operation import INTERNAL_ERROR, DimseOperation, OperationContext
from osteon.dimse.status import Status
from osteon.logging import get_logger

log = get_logger(__name__)


class EchoOperation(DimseOperation):
    """A C-ECHO."""

    name = "C-ECHO"

    def start(self) -> None:
        """Pass the request to the handler."""
        self._peer.spawn(self._perform(self._peer.handler.echo))


class StoreOperation(DimseOperation):
    """A C-STORE: its data set goes to the handler's sink as it comes."""

    name = "C-STORE"

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command) -> None:
        super().__init__(peer, context, command)
        self._sop_instance_uid = command.text(CommandElement.AFFECTED_SOP_INSTANCE_UID)
        self._sink: StoreSink | None = None
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the sink, or refuse."""
        opened = self._check() or self._open()
        if isinstance(opened, Outcome):
            self.refuse(opened)
        else:
            self._sink = opened

    def _check(self) -> Outcome | None:
        if self.sop_class_uid != self.context.abstract_syntax:
            return Outcome(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context")
        if not is_uid(self._sop_instance_uid):
            return Outcome(Status.INVALID_SOP_INSTANCE, "(0000,1000) is not a UID")
        if not self._command.has_data_set:
            return Outcome(Status.CANNOT_UNDERSTAND, "C-STORE without a data set")
        return None

    def _open(self) -> StoreSink | Outcome:
        request = StoreRequest(
            message_id=self.message_id,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self._sop_instance_uid,
            move_originator_aet=self._command.text(CommandElement.MOVE_ORIGINATOR_AET),
            move_originator_message_id=self._command.number(CommandElement.MOVE_ORIGINATOR_MESSAGE_ID),
        )
        try:
            return self._peer.handler.store(request, self.context)
        except Exception:
            log.exception("C-STORE failed", sop_instance_uid=request.sop_instance_uid)
            return INTERNAL_ERROR

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
            outcome = self._refusal or INTERNAL_ERROR
        else:
            try:
                outcome = await sink.finish()
            except Exception:
                log.exception("C-STORE failed", sop_instance_uid=self._sop_instance_uid)
                outcome = INTERNAL_ERROR
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
        """Abort the sink and refuse; called while an exception of its `write` is handled."""
        log.exception("C-STORE failed", sop_instance_uid=self._sop_instance_uid)
        sink, self._sink = self._sink, None
        self._refusal = INTERNAL_ERROR
        if sink is not None:
            _abort_quietly(sink)


def _abort_quietly(sink: StoreSink) -> None:
    try:
        sink.abort()
    except Exception:
        log.exception("C-STORE abort failed")
