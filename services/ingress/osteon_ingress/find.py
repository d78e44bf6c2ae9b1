"""C-FIND (PS3.4 C.4.1): `query` searches, page by page; each match becomes a pending response."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from secrets import token_hex
from typing import Final

from osteon.bus.port import Bus, RequestFailed, RequestTimeout
from osteon.contracts.find import FindCancelled, FindPageReply, FindPageRequest
from osteon.contracts.topology import FIND
from osteon.dimse.failure_status import FIND_STATUSES
from osteon.dimse.handler import AssociationInfo, FindRequest, FindResponse, Outcome
from osteon.dimse.status import Status
from osteon.errors import Unavailable
from osteon.logging import get_logger

PAGE_TIMEOUT: Final = 30.0
"""Seconds for one page."""
_CANCEL_TIMEOUT: Final = 1.0
"""Seconds to tell `query` that nobody waits any more: the requester waits for its answer meanwhile."""

log = get_logger(__name__)


async def find(association: AssociationInfo, request: FindRequest, bus: Bus) -> AsyncGenerator[FindResponse]:
    """Yield the matches as pending responses, then the final one.

    Closing the iterator stops the requests for pages; a page that is being searched when the iteration is cancelled, or
    that comes too late, is cancelled in `query` too.
    """
    matches = 0
    message = build_find_request(association, request)
    while True:
        try:
            page = await _request_page(bus, message)
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


async def _request_page(bus: Bus, message: FindPageRequest) -> FindPageReply:
    try:
        return await bus.request(FIND, message, timeout=PAGE_TIMEOUT)
    except (asyncio.CancelledError, RequestTimeout):
        cancelled = FindCancelled(correlation_id=message.correlation_id, request_id=message.request_id)
        with suppress(Unavailable, TimeoutError):  # the time-out in the request ends the search as well
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                await bus.publish(cancelled)
        raise


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
        request_id=token_hex(16),
        timeout_seconds=PAGE_TIMEOUT,
    )
