"""C-FIND (PS3.4 C.4.1): `query` searches, page by page; each match becomes a pending response."""

from collections.abc import AsyncGenerator
from typing import Final

from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.find import FindPageRequest
from osteon.contracts.topology import FIND
from osteon.dimse.failure_status import FIND_STATUSES
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
    message = build_find_request(association, request)
    while True:
        try:
            page = await bus.request(FIND, message, timeout=PAGE_TIMEOUT)
        except RequestFailed as error:
            outcome = FIND_STATUSES.outcome(error)
            log.info("C-FIND failed", correlation_id=association.id, matches=matches, status=f"0x{outcome.status:04X}",
                     error=str(error))  # fmt: skip
            yield FindResponse(outcome.status, comment=outcome.comment)
            return
        except Unavailable as error:
            log.warning("C-FIND not answered", correlation_id=association.id, error=str(error), matches=matches)
            yield FindResponse(Status.OUT_OF_RESOURCES, comment="search not available; try again later")
            return
        pending = Status.PENDING_OPTIONAL_KEYS_UNSUPPORTED if page.keys_ignored else Status.PENDING
        for identifier in page.identifiers:
            yield FindResponse(pending, identifier)
        matches += len(page.identifiers)
        if page.cursor is None:
            break
        message = message.model_copy(update={"cursor": page.cursor})
    log.info("C-FIND finished", correlation_id=association.id, matches=matches, status="0x0000")
    yield FindResponse(Status.SUCCESS)


async def refuse_find(outcome: Outcome) -> AsyncGenerator[FindResponse]:
    """Yield one response, which refuses."""
    yield FindResponse(outcome.status, comment=outcome.comment)


def build_find_request(association: AssociationInfo, request: FindRequest) -> FindPageRequest:
    """Return the request for the first page, with what extended negotiation agreed on (PS3.4 C.5.1.1)."""
    agreed = request.context.extended.ljust(4, b"\0")
    return FindPageRequest(
        correlation_id=association.id,
        traceparent=association.traceparent,
        sop_class_uid=request.context.abstract_syntax,
        transfer_syntax_uid=request.context.transfer_syntax,
        identifier=request.identifier,
        called_aet=association.called_aet,
        combined_datetime=agreed[1] == 1,
        fuzzy=agreed[2] == 1,
        timezone=agreed[3] == 1,
    )
