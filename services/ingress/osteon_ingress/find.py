"""C-FIND (PS3.4 C.4.1): `query` searches, page by page; each match becomes a pending response."""

from collections.abc import AsyncGenerator
from typing import Final

from osteon.bus.port import Bus
from osteon.contracts.find import FindPage, FindRequested
from osteon.contracts.topology import FIND
from osteon.dimse.handler import AssociationInfo, FindRequest, FindResponse, Outcome
from osteon.dimse.status import Status
from osteon.errors import Unavailable
from osteon.logging import get_logger

PAGE_TIMEOUT: Final = 30.0
"""Seconds for one page."""

log = get_logger(__name__)


async def find(association: AssociationInfo, request: FindRequest, bus: Bus) -> AsyncGenerator[FindResponse]:
    """Yield the matches as pending responses, then the final one. Closing the iterator stops the requests for pages."""
    matches = 0
    question = build_find_request(association, request)
    while True:
        try:
            page = await bus.request(FIND, question, timeout=PAGE_TIMEOUT)
        except Unavailable as error:
            log.warning("C-FIND not answered", correlation_id=association.id, error=str(error), matches=matches)
            yield FindResponse(Status.OUT_OF_RESOURCES, comment="search not available; try again later")
            return
        assert isinstance(page, FindPage)
        pending = _status(page.pending_status, Status.PENDING)
        for identifier in page.identifiers:
            yield FindResponse(pending, identifier)
        matches += len(page.identifiers)
        if page.cursor is None:
            break
        question = question.model_copy(update={"cursor": page.cursor})
    status = _status(page.status, Status.UNABLE_TO_PROCESS)
    log.info("C-FIND finished", correlation_id=association.id, matches=matches, status=f"0x{page.status:04X}")
    yield FindResponse(status, comment=page.error_comment)


async def refuse_find(outcome: Outcome) -> AsyncGenerator[FindResponse]:
    """Yield one response, which refuses."""
    yield FindResponse(outcome.status, comment=outcome.comment)


def build_find_request(association: AssociationInfo, request: FindRequest) -> FindRequested:
    """Return the request for the first page, with what extended negotiation agreed on (PS3.4 C.5.1.1)."""
    agreed = request.context.extended.ljust(4, b"\0")
    return FindRequested(
        correlation_id=association.id,
        traceparent=association.traceparent,
        sop_class_uid=request.context.abstract_syntax,
        transfer_syntax_uid=request.context.transfer_syntax,
        identifier=request.identifier,
        calling_aet=association.calling_aet,
        called_aet=association.called_aet,
        relational=agreed[0] == 1,
        combined_datetime=agreed[1] == 1,
        fuzzy=agreed[2] == 1,
        timezone=agreed[3] == 1,
    )


def _status(code: int, otherwise: Status) -> Status:
    try:
        return Status(code)
    except ValueError:
        return otherwise
