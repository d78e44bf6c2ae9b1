"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): `dispatcher` moves; for a C-GET it plans what is sent here."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, TypedDict

from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.retrieve import (
    MoveCounters,
    PlannedInstance,
    RetrievePlanReply,
    RetrievePlanRequest,
    StartMoveRequest,
)
from osteon.contracts.topology import MOVE, RETRIEVE_PLAN
from osteon.dimse.failure_status import RETRIEVE_STATUSES, SUBOPERATION_STATUSES
from osteon.dimse.handler import (
    AssociationInfo,
    GetRequest,
    MoveRequest,
    Outcome,
    RetrieveOperationRequest,
    RetrieveResponse,
)
from osteon.dimse.status import Status
from osteon.errors import Unavailable
from osteon.logging import get_logger
from osteon.sending.store_sender import StoreSender
from osteon.sending.suboperations import SubOperationCounts, SubOperationResult
from osteon_ingress.move_progress import MoveFollower, MovePolling, MoveProgressInbox

TIMEOUT: Final = 30.0
"""Seconds for an answer of `dispatcher`."""
_POLLING: Final = MovePolling()
_MAX_REASONS: Final = 20
"""Reasons for failed sub-operations that are logged of one C-GET."""

log = get_logger(__name__)


async def refuse_retrieve(outcome: Outcome) -> AsyncGenerator[RetrieveResponse]:
    """Yield one response, which refuses."""
    yield RetrieveResponse(outcome.status, comment=outcome.comment)


async def move(
    association: AssociationInfo,
    request: MoveRequest,
    bus: Bus,
    inbox: MoveProgressInbox,
    polling: MovePolling = _POLLING,
) -> AsyncGenerator[RetrieveResponse]:
    """Have `dispatcher` move instances, and yield its progress. Closing the generator early stops the job."""
    follower = MoveFollower(association.id, request.cancelled, bus, polling)
    with inbox.receiving(follower.receive) as address:
        message = StartMoveRequest(
            **_common_fields(association, request),
            calling_aet=association.calling_aet,
            called_aet=association.called_aet,
            destination=request.destination,
            message_id=request.message_id,
            progress_address=address,
        )
        try:
            started = await bus.request(MOVE, message, timeout=TIMEOUT)
        except (Unavailable, RequestFailed) as error:
            yield _not_started(association, error)
            return
        if not started.job_id:
            yield RetrieveResponse(Status.SUCCESS)
            return
        log.info("C-MOVE started", correlation_id=association.id, job=started.job_id, destination=request.destination,
                 instances=started.total)  # fmt: skip
        yield RetrieveResponse(Status.PENDING, started.total)
        try:
            async with aclosing(follower.follow(started.job_id, started.total)) as progress:
                async for counts in progress:
                    yield to_response(counts)
        except RequestFailed as error:  # the job was deleted
            outcome = SUBOPERATION_STATUSES.outcome(error)
            yield RetrieveResponse(outcome.status, comment=outcome.comment)


async def get(
    association: AssociationInfo, request: GetRequest, bus: Bus, sender: StoreSender
) -> AsyncGenerator[RetrieveResponse]:
    """Send the planned instances on the association itself, and yield the counts after each."""
    message = RetrievePlanRequest(**_common_fields(association, request))
    try:
        plan = await bus.request(RETRIEVE_PLAN, message, timeout=TIMEOUT)
    except (Unavailable, RequestFailed) as error:
        yield _not_started(association, error)
        return
    counts, pages = SubOperationCounts(remaining=plan.total), _Pages(bus, message, plan)
    reasons: set[str] = set()
    yield counts.pending()
    try:
        async with aclosing(
            sender.send(request.user, pages.instances(), purpose="c-get", traceparent=association.traceparent)
        ) as sent:
            async for one in sent:
                pages.finish_first()
                counts.add(one)
                _report(association, one, reasons)
                yield counts.pending()
                if request.cancelled.is_set():
                    break
    except Unavailable as error:
        log.warning("C-GET interrupted", correlation_id=association.id, error=str(error), remaining=counts.remaining)
        for instance in pages.open:
            counts.add(SubOperationResult(instance, None, str(error)))
        counts.give_up(str(error))
    final = counts.final(cancelled=request.cancelled.is_set() and counts.remaining > 0)
    log.info("C-GET finished", correlation_id=association.id, status=f"0x{final.status:04X}",
             completed=counts.completed, failed=counts.failed, warning=counts.warning)  # fmt: skip
    yield final


class _Pages:
    """The instances of a plan; `open` are those that were given out and are not finished."""

    def __init__(self, bus: Bus, message: RetrievePlanRequest, first: RetrievePlanReply) -> None:
        self._bus, self._message, self._plan = bus, message, first
        self.open: deque[PlannedInstance] = deque()

    async def instances(self) -> AsyncIterator[PlannedInstance]:
        """Yield all in order. Raises `Unavailable` when a further page does not come."""
        while True:
            for instance in self._plan.instances:
                self.open.append(instance)
                yield instance
            if self._plan.cursor is None:
                return
            message = self._message.model_copy(update={"cursor": self._plan.cursor})
            try:
                self._plan = await self._bus.request(RETRIEVE_PLAN, message, timeout=TIMEOUT)
            except RequestFailed as error:
                raise Unavailable(f"the plan ends early: {error}") from error

    def finish_first(self) -> None:
        """Remove the first open instance: it was sent, or has failed."""
        self.open.popleft()


class _CommonFields(TypedDict):
    """The fields that requests for C-MOVE and C-GET share."""

    correlation_id: str
    traceparent: str
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes
    relational: bool


def _common_fields(association: AssociationInfo, request: RetrieveOperationRequest) -> _CommonFields:
    return {
        "correlation_id": association.id,
        "traceparent": association.traceparent,
        "sop_class_uid": request.context.abstract_syntax,
        "transfer_syntax_uid": request.context.transfer_syntax,
        "identifier": request.identifier,
        "relational": request.context.extended[:1] == b"\1",
    }


def _report(association: AssociationInfo, sent: SubOperationResult, reasons: set[str]) -> None:
    """Log each reason once: without role selection no instance is accepted, and all for the same reason."""
    if sent.reason and sent.reason not in reasons and len(reasons) < _MAX_REASONS:
        reasons.add(sent.reason)
        log.warning("instance not accepted, others may follow", correlation_id=association.id,
                    instance=sent.instance.sop_instance_uid, reason=sent.reason)  # fmt: skip


def to_response(progress: MoveCounters | None) -> RetrieveResponse:
    """Return the response for the progress of a C-MOVE, pending or final (PS3.4 Table C.4-2); None: it is unknown."""
    if progress is None:
        comment = "C-MOVE status unknown; it may still be running"
        return RetrieveResponse(Status.UNABLE_TO_PERFORM_SUB_OPERATIONS, comment=comment)
    counts = SubOperationCounts(
        progress.remaining,
        progress.completed,
        progress.failed,
        progress.warning,
        progress.failed_uids,
        progress.error_comment,
    )
    return counts.final(cancelled=progress.cancelled) if progress.done else counts.pending()


def _not_started(association: AssociationInfo, error: Unavailable | RequestFailed) -> RetrieveResponse:
    log.warning("retrieve not started", correlation_id=association.id, error=str(error))
    if isinstance(error, RequestFailed):
        outcome = RETRIEVE_STATUSES.outcome(error)
        return RetrieveResponse(outcome.status, comment=outcome.comment)
    comment = "no dispatcher answered; try again later"
    return RetrieveResponse(Status.UNABLE_TO_CALCULATE_MATCHES, comment=comment)
