"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): `dispatcher` moves, and plans what is sent here for a C-GET."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, TypeVar

from osteon.bus.port import Bus
from osteon.contracts.retrieve import (
    MoveCounters,
    MoveRequested,
    MoveStarted,
    Plan,
    PlannedInstance,
    PlanRequested,
    RetrieveRequest,
)
from osteon.contracts.topology import MOVE, PLAN
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
from osteon_ingress.move_progress import MoveFollower, MoveProgressInbox

TIMEOUT: Final = 30.0
"""Seconds for an answer of `dispatcher`."""
M = TypeVar("M", bound=RetrieveRequest)

log = get_logger(__name__)


async def refuse_retrieve(outcome: Outcome) -> AsyncGenerator[RetrieveResponse]:
    """Give one response, which refuses."""
    yield RetrieveResponse(outcome.status, comment=outcome.comment)


async def move(
    association: AssociationInfo, request: MoveRequest, bus: Bus, inbox: MoveProgressInbox
) -> AsyncGenerator[RetrieveResponse]:
    """Have it moved, and report how far it is. Closing the generator before the final response stops it."""
    follower = MoveFollower(association.id, request.cancelled, bus)
    with inbox.receiving(follower.receive) as address:
        message = _retrieve_request(MoveRequested, association, request, destination=request.destination,
                                    message_id=request.message_id, progress_address=address)  # fmt: skip
        try:
            started = await bus.request(MOVE, message, timeout=TIMEOUT)
        except Unavailable as error:
            yield _no_dispatcher(association, error)
            return
        assert isinstance(started, MoveStarted)
        if not started.job_id:
            yield _refused(started.status, started.error_comment)
            return
        log.info("C-MOVE started", correlation_id=association.id, job=started.job_id, destination=request.destination,
                 instances=started.total)  # fmt: skip
        yield RetrieveResponse(Status.PENDING, started.total)
        async with aclosing(follower.follow(started.job_id, started.total)) as progress:
            async for counts in progress:
                yield _to_response(counts)


async def get(
    association: AssociationInfo, request: GetRequest, bus: Bus, sender: StoreSender
) -> AsyncGenerator[RetrieveResponse]:
    """Send on the association itself, and report how far it is."""
    message = _retrieve_request(PlanRequested, association, request)
    try:
        plan = await _page(bus, message)
    except Unavailable as error:
        yield _no_dispatcher(association, error)
        return
    if plan.status != Status.SUCCESS:
        yield _refused(plan.status, plan.error_comment)
        return
    counts, pages = SubOperationCounts(remaining=plan.total), _Pages(bus, message, plan)
    yield counts.pending()
    try:
        async with aclosing(
            sender.send(request.user, pages.instances(), purpose="c-get", traceparent=association.traceparent)
        ) as sent:
            async for one in sent:
                pages.finish_first()
                _count(association, counts, one)
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
    """The instances of a plan; `open` are those that were given and are not over."""

    def __init__(self, bus: Bus, message: PlanRequested, first: Plan) -> None:
        self._bus, self._message, self._plan = bus, message, first
        self.open: deque[PlannedInstance] = deque()

    async def instances(self) -> AsyncIterator[PlannedInstance]:
        """Give all in order. Raises `Unavailable` when a further page does not come."""
        while True:
            for instance in self._plan.instances:
                self.open.append(instance)
                yield instance
            if self._plan.cursor is None:
                return
            self._plan = await _page(self._bus, self._message.model_copy(update={"cursor": self._plan.cursor}))
            if self._plan.status != Status.SUCCESS:
                raise Unavailable(f"the plan ends early: 0x{self._plan.status:04X} {self._plan.error_comment}".rstrip())

    def finish_first(self) -> None:
        """The first one that is open was sent, or has failed."""
        self.open.popleft()


async def _page(bus: Bus, message: PlanRequested) -> Plan:
    plan = await bus.request(PLAN, message, timeout=TIMEOUT)
    assert isinstance(plan, Plan)
    return plan


def _retrieve_request(
    message: type[M], association: AssociationInfo, request: RetrieveOperationRequest, **more: object
) -> M:
    return message.model_validate(
        {
            "correlation_id": association.id,
            "traceparent": association.traceparent,
            "sop_class_uid": request.context.abstract_syntax,
            "transfer_syntax_uid": request.context.transfer_syntax,
            "identifier": request.identifier,
            "calling_aet": association.calling_aet,
            "called_aet": association.called_aet,
            "relational": request.context.extended[:1] == b"\1",
            **more,
        }
    )


def _count(association: AssociationInfo, counts: SubOperationCounts, sent: SubOperationResult) -> None:
    counts.add(sent)
    if sent.reason:
        log.warning("instance not accepted", correlation_id=association.id, instance=sent.instance.sop_instance_uid,
                    reason=sent.reason)  # fmt: skip


def _to_response(progress: MoveCounters | None) -> RetrieveResponse:
    if progress is None:
        comment = "C-MOVE status unknown; it may still be running"
        return RetrieveResponse(Status.UNABLE_TO_PERFORM_SUB_OPERATIONS, comment=comment)
    return RetrieveResponse(
        status=_final(progress.status) if progress.done else Status.PENDING,
        remaining=progress.remaining,
        completed=progress.completed,
        failed=progress.failed,
        warning=progress.warning,
        failed_uids=tuple(progress.failed_uids),
        comment=progress.error_comment,
    )


def _no_dispatcher(association: AssociationInfo, error: Unavailable) -> RetrieveResponse:
    log.warning("retrieve request not answered", correlation_id=association.id, error=str(error))
    comment = "no dispatcher answered; try again later"
    return RetrieveResponse(Status.UNABLE_TO_CALCULATE_MATCHES, comment=comment)


def _refused(status: int, comment: str) -> RetrieveResponse:
    return RetrieveResponse(_final(status), comment=comment)


def _final(code: int) -> Status:
    """Return the status of a final response; the messages allow any number."""
    try:
        status = Status(code)
    except ValueError:
        return Status.UNABLE_TO_PROCESS
    return Status.UNABLE_TO_PROCESS if status.is_pending else status
