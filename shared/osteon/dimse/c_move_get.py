"""C-MOVE and C-GET as SCP (PS3.7 9.1.4 and 9.1.3, PS3.4 C.4.2 and C.4.3): their responses count sub-operations."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dimse.command import Command, CommandElement
from osteon.dimse.handler import GetRequest, MoveRequest, Outcome, PresentationContext, RetrieveResponse
from osteon.dimse.multi_response import MultiResponseOperation
from osteon.dimse.operation import OperationContext
from osteon.dimse.status import Status

_UNTHROTTLED = 100
"""Pending responses that are sent as they come: every instance of a series is seen, thousands are not."""
_INTERVAL_SECONDS = 0.25
"""Seconds between further ones."""
_MAX_COUNT = 0xFFFF
"""What a counter (VR US) can say; more sub-operations than that leave it there."""
_MAX_LIST_BYTES = 0xFFFE
"""Bytes of Failed SOP Instance UID List: with more, Explicit VR has no room for its length."""


class RetrieveOperation(MultiResponseOperation[RetrieveResponse]):
    """What C-MOVE and C-GET have in common: a handler that can be stopped, and counts of sub-operations."""

    def __init__(self, peer: OperationContext, context: PresentationContext, command: Command) -> None:
        super().__init__(peer, context, command)
        self._cancelled = asyncio.Event()
        self._latest = RetrieveResponse(Status.PENDING)
        self._sent = 0
        self._sent_at = 0.0
        self._repetition: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Ask the handler to stop: an instance that is on its way still goes to its end."""
        self._cancelled.set()

    def on_association_end(self) -> None:
        """Stop the handler and the repetition of counts."""
        self._stop_repeating()
        super().on_association_end()

    def send_pending(self, response: RetrieveResponse) -> None:
        """Send a pending response; when there were many already, only now and then."""
        self._latest = response
        now = asyncio.get_running_loop().time()
        if self._sent < _UNTHROTTLED or now - self._sent_at >= _INTERVAL_SECONDS:
            self._send_latest()

    def send_final(self, response: RetrieveResponse) -> None:
        """Send the final response, with the list of failed instances unless all succeeded."""
        self._stop_repeating()
        data_set = None if response.status is Status.SUCCESS else self._encode_failed(response.failed_uids)
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
        self._repetition = loop.call_later(self._peer.limits.progress_repeat, self._send_latest)

    def _stop_repeating(self) -> None:
        if self._repetition is not None:
            self._repetition.cancel()

    def _encode_failed(self, uids: Sequence[str]) -> bytes | None:
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
    """A C-MOVE, which needs a Move Destination."""

    name = "C-MOVE"

    def check(self) -> Outcome | None:
        """Return why the request is refused: no Move Destination, or what every request is refused for."""
        if not self._command.text(CommandElement.MOVE_DESTINATION):
            return Outcome(Status.MOVE_DESTINATION_UNKNOWN, "no Move Destination (0000,0600)")
        return super().check()

    def responses(self, identifier: bytes) -> AsyncIterator[RetrieveResponse]:
        """Return the handler's responses to the request."""
        destination = self._command.text(CommandElement.MOVE_DESTINATION)
        request = MoveRequest(self.message_id, self.context, identifier, self._cancelled, destination)
        return self._peer.handler.move(request)


class GetOperation(RetrieveOperation):
    """A C-GET, whose sub-operations go over the same association."""

    name = "C-GET"

    def responses(self, identifier: bytes) -> AsyncIterator[RetrieveResponse]:
        """Return the handler's responses to the request."""
        assert self._peer.user is not None  # only an acceptor's contexts are for C-GET
        request = GetRequest(self.message_id, self.context, identifier, self._cancelled, self._peer.user)
        return self._peer.handler.get(request)


def _counts(response: RetrieveResponse) -> dict[CommandElement, int]:
    counts = {
        CommandElement.COMPLETED_SUB_OPERATIONS: min(response.completed, _MAX_COUNT),
        CommandElement.FAILED_SUB_OPERATIONS: min(response.failed, _MAX_COUNT),
        CommandElement.WARNING_SUB_OPERATIONS: min(response.warning, _MAX_COUNT),
    }
    if response.status.is_pending or response.status is Status.CANCEL:
        counts[CommandElement.REMAINING_SUB_OPERATIONS] = min(response.remaining, _MAX_COUNT)
    return counts
