"""C-FIND as SCP (PS3.7 9.1.2, PS3.4 C.4.1)."""

from collections.abc import AsyncIterator

from osteon.dimse.handler import FindRequest, FindResponse, Outcome
from osteon.dimse.multi_response import MultiResponseOperation


class FindOperation(MultiResponseOperation[FindResponse]):
    """A C-FIND: sends each match that the handler finds."""

    name = "C-FIND"

    def responses(self, identifier: bytes) -> AsyncIterator[FindResponse]:
        """Return the handler's matches."""
        return self._peer.handler.find(FindRequest(self.message_id, self.context, identifier))

    def send_pending(self, response: FindResponse) -> None:
        """Send a match."""
        self._send(Outcome(response.status, response.comment), response.identifier)

    def send_final(self, response: FindResponse) -> None:
        """Send the final response, which has no Identifier."""
        self.respond(Outcome(response.status, response.comment))

    def final(self, outcome: Outcome) -> FindResponse:
        """Return the final response with this outcome."""
        return FindResponse(outcome.status, comment=outcome.comment)

    def cancel(self) -> None:
        """Stop searching and answer 0xFE00."""
        self.on_association_end()
