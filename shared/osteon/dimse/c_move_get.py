"""C-MOVE and C-GET as SCP (PS3.7 9.1.4 and 9.1.3, PS3.4 C.4.2 and C.4.3): their responses count sub-operations."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dimse.command import CommandElement
from osteon.dimse.handler import AssociationHandler, GetRequest, MoveRequest, Outcome, RetrieveResponse
from osteon.dimse.multi_response import MultiResponseOperation
from osteon.dimse.operation import DimseOperation
from osteon.dimse.status import Status

_UNTHROTTLED = 100
"""Pending responses that are sent as they come: every instance of a series is seen, thousands are not."""
_INTERVAL_SECONDS = 0.25
"""Seconds between further ones."""
_REPEAT_SECONDS = 5.0
"""Seconds after which the last one is repeated, so that no requester gives up while an instance takes long."""
_MAX_COUNT = 0xFFFF
"""What a counter (VR US) can say; more sub-operations than that leave it there."""
_MAX_LIST_BYTES = 0xFFFE
"""Bytes of Failed SOP Instance UID List: with more, Explicit VR has no room for its length."""


class RetrieveOperation(MultiResponseOperation[RetrieveResponse]):
    """What C-MOVE and C-GET have in common: a handler that can be stopped, and counts."""

    _sent = 0
    _sent_at = 0.0
    _repetition: asyncio.TimerHandle | None = None
    _latest = RetrieveResponse(Status.PENDING)
    _cancelled: asyncio.Event

    def start(self, handler: AssociationHandler) -> DimseOperation:
        """Wait for the Identifier, or refuse."""
        self._cancelled = asyncio.Event()
        return super().start(handler)

    def cancel(self) -> None:
        """Ask the handler to stop: an instance that is on its way still goes to its end."""
        self._cancelled.set()

    def on_association_end(self) -> None:
        """Stop: there is no peer left to answer."""
        self._stop_repeating()
        super().on_association_end()

    def pend(self, response: RetrieveResponse) -> None:
        """Send a pending response, unless there were many."""
        self._latest = response
        now = asyncio.get_running_loop().time()
        if self._sent < _UNTHROTTLED or now - self._sent_at >= _INTERVAL_SECONDS:
            self._send_latest()

    def conclude(self, response: RetrieveResponse) -> None:
        """Send the final response."""
        self._stop_repeating()
        data_set = None if response.status is Status.SUCCESS else self._failed(response.failed_uids)
        self._send(Outcome(response.status, response.comment), data_set, _counts(response))
        self._peer.finish_operation(self)

    def final(self, outcome: Outcome) -> RetrieveResponse:
        """Return a final response with the last counts."""
        return replace(self._latest, status=outcome.status, comment=outcome.comment)

    def _send_latest(self) -> None:
        loop = asyncio.get_running_loop()
        self._sent += 1
        self._sent_at = loop.time()
        self._send(Outcome(self._latest.status), counts=_counts(self._latest))
        self._stop_repeating()
        self._repetition = loop.call_later(_REPEAT_SECONDS, self._send_latest)

    def _stop_repeating(self) -> None:
        if self._repetition is not None:
            self._repetition.cancel()

    def _failed(self, uids: Sequence[str]) -> bytes | None:
        room = _MAX_LIST_BYTES
        listed = []
        for uid in uids:
            room -= len(uid) + 1
            if room < 0:
                break
            listed.append(uid)
        if not listed:
            return None
        return DatasetEncoder(self.context.transfer_syntax).encode({"00080058": {"vr": "UI", "Value": listed}})


class MoveOperation(RetrieveOperation):
    """A C-MOVE."""

    name = "C-MOVE"

    def start(self, handler: AssociationHandler) -> DimseOperation:
        """Wait for the Identifier, or refuse."""
        if not self._command.text(CommandElement.MOVE_DESTINATION):
            return self.refuse(Outcome(Status.MOVE_DESTINATION_UNKNOWN, "no Move Destination (0000,0600)"))
        return super().start(handler)

    def ask(self, handler: AssociationHandler, identifier: bytes) -> AsyncIterator[RetrieveResponse]:
        """Begin to move."""
        destination = self._command.text(CommandElement.MOVE_DESTINATION)
        return handler.move(MoveRequest(self.message_id, self.context, identifier, self._cancelled, destination))


class GetOperation(RetrieveOperation):
    """A C-GET."""

    name = "C-GET"

    def ask(self, handler: AssociationHandler, identifier: bytes) -> AsyncIterator[RetrieveResponse]:
        """Begin to send."""
        assert self._peer.user is not None  # only an acceptor's contexts are for C-GET
        request = GetRequest(self.message_id, self.context, identifier, self._cancelled, self._peer.user)
        return handler.get(request)


def _counts(response: RetrieveResponse) -> dict[CommandElement, int]:
    counts = {
        CommandElement.COMPLETED_SUB_OPERATIONS: min(response.completed, _MAX_COUNT),
        CommandElement.FAILED_SUB_OPERATIONS: min(response.failed, _MAX_COUNT),
        CommandElement.WARNING_SUB_OPERATIONS: min(response.warning, _MAX_COUNT),
    }
    if response.status.is_pending or response.status is Status.CANCEL:
        counts[CommandElement.REMAINING_SUB_OPERATIONS] = min(response.remaining, _MAX_COUNT)
    return counts
