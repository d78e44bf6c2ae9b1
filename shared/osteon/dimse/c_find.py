"""C-FIND as SCP (PS3.7 9.1.2, PS3.4 C.4.1)."""

from collections.abc import AsyncIterator

from osteon.dimse.handler import AssociationHandler, FindRequest, FindResponse, Outcome
from osteon.dimse.multi_response import MultiResponseOperation


class FindOperation(MultiResponseOperation[FindResponse]):
    """A C-FIND: sends what the handler finds."""

    name = "C-FIND"

    def ask(self, handler: AssociationHandler, identifier: bytes) -> AsyncIterator[FindResponse]:
        """Search."""
        return handler.find(FindRequest(self.message_id, self.context, identifier))

    def pend(self, response: FindResponse) -> None:
        """Send a match."""
        self._send(Outcome(response.status, response.comment), response.identifier)

    def conclude(self, response: FindResponse) -> None:
        """Send the final response."""
        self.respond(Outcome(response.status, response.comment))

    def final(self, outcome: Outcome) -> FindResponse:
        """Return a final response."""
        return FindResponse(outcome.status, comment=outcome.comment)

    def cancel(self) -> None:
        """Stop searching and answer 0xFE00."""
        self.on_association_end()
