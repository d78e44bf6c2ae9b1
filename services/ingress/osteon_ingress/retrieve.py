"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): `dispatcher` moves, and plans what this door sends for a C-GET."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final, TypedDict

from osteon.bus.port import Bus, RequestFailed
from osteon.contracts.retrieve import (
    MoveProgress,
    MoveRequested,
    MoveWatched,
    Plan,
    PlannedInstance,
    PlanRequested,
)
from osteon.contracts.topology import MOVE, PLAN, WATCH
from osteon.dimse.failure_status import RETRIEVE_STATUSES, SUBOPERATION_STATUSES
from osteon.dimse.handler import AssociationInfo, GetRequest, MoveRequest, Outcome, RetrieveResponse
from osteon.dimse.handler import RetrieveRequest as Asked
from osteon.dimse.status import Status
from osteon.errors import FailureKind, OsteonError, Unavailable
from osteon.logging import get_logger
from osteon.sending.accounting import Sent, Tally
from osteon.sending.sending import Sending

TIMEOUT: Final = 30.0
"""Seconds for an answer of `dispatcher`."""
PATIENCE: Final = 150.0
"""Seconds in which nobody says how far a C-MOVE is before its requester is told so: longer than another `dispatcher`
takes to go on with what a dead one has left."""
_LOOK_AGAIN: Final = 1.0
_LAST_WORD: Final = 3.0
"""Seconds to say that an association is gone: its handler waits for it."""

log = get_logger(__name__)


async def refuse_retrieve(outcome: Outcome) -> AsyncGenerator[RetrieveResponse]:
    """Give one response, which refuses."""
    yield RetrieveResponse(outcome.status, comment=outcome.comment)


async def move(association: AssociationInfo, request: MoveRequest, bus: Bus) -> AsyncGenerator[RetrieveResponse]:
    """Have it moved, and tell how far it is. Closing the generator before the final response stops it."""
    message = MoveRequested(
        **_common(association, request),
        calling_aet=association.calling_aet,
        called_aet=association.called_aet,
        destination=request.destination,
        message_id=request.message_id,
    )
    try:
        started = await bus.request(MOVE, message, timeout=TIMEOUT)
    except (Unavailable, RequestFailed) as error:
        yield _not_begun(association, error)
        return
    if not started.job_id:
        yield RetrieveResponse(Status.SUCCESS)
        return
    log.info("move begun", correlation_id=association.id, job=started.job_id, destination=request.destination,
             instances=started.total)  # fmt: skip
    yield RetrieveResponse(Status.PENDING, started.total)
    async with aclosing(_Watch(association, started.job_id, request.cancelled, bus).responses()) as responses:
        async for response in responses:
            yield response


class _Watch:
    """Follows the job of a C-MOVE."""

    def __init__(self, association: AssociationInfo, job_id: str, cancelled: asyncio.Event, bus: Bus) -> None:
        self._association, self._job_id, self._cancelled, self._bus = association, job_id, cancelled, bus
        self._seen = -1

    async def responses(self) -> AsyncGenerator[RetrieveResponse]:
        """Yield pending responses until there is a final one."""
        over = False
        try:
            while not over:
                progress = await self._next()
                over = progress is None or progress.done
                yield to_response(progress)
        except RequestFailed as error:  # the job is gone
            over = True
            outcome = SUBOPERATION_STATUSES.outcome(error)
            yield RetrieveResponse(outcome.status, comment=outcome.comment)
        finally:
            if not over:
                with suppress(OsteonError):  # the job ends by itself when all is sent
                    await self._ask(cancel=True, timeout=_LAST_WORD)

    async def _next(self) -> MoveProgress | None:
        """Return how far it is, None when that was not known for `PATIENCE` seconds. Raises `RequestFailed`: no job."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while True:
            try:
                return await self._look()
            except (Unavailable, RequestFailed) as error:
                if error.kind is FailureKind.NOT_FOUND:
                    raise
                log.warning("move not watched", correlation_id=self._association.id, job=self._job_id, error=str(error))
                if loop.time() >= give_up:
                    return None
            await asyncio.sleep(_LOOK_AGAIN)

    async def _look(self) -> MoveProgress:
        """Wait for news, but not when it was cancelled meanwhile."""
        if self._cancelled.is_set():
            return await self._ask(cancel=True)
        asking = asyncio.create_task(self._ask())
        cancelling = asyncio.create_task(self._cancelled.wait())
        try:
            await asyncio.wait([asking, cancelling], return_when=asyncio.FIRST_COMPLETED)
            return await asking if asking.done() else await self._ask(cancel=True)
        finally:
            for task in (asking, cancelling):
                task.cancel()
            await asyncio.gather(asking, cancelling, return_exceptions=True)

    async def _ask(self, *, cancel: bool = False, timeout: float = TIMEOUT) -> MoveProgress:
        question = MoveWatched(correlation_id=self._association.id, job_id=self._job_id, cancel=cancel, seen=self._seen)
        progress = await self._bus.request(WATCH, question, timeout=timeout)
        self._seen = progress.completed + progress.failed + progress.warning
        return progress


async def get(
    association: AssociationInfo, request: GetRequest, bus: Bus, sending: Sending
) -> AsyncGenerator[RetrieveResponse]:
    """Send on the association itself, and tell how far it is."""
    question = PlanRequested(**_common(association, request))
    try:
        plan = await bus.request(PLAN, question, timeout=TIMEOUT)
    except (Unavailable, RequestFailed) as error:
        yield _not_begun(association, error)
        return
    tally, pages = Tally(remaining=plan.total), _Pages(bus, question, plan)
    yield tally.pending()
    try:
        async with aclosing(
            sending.send(request.user, pages.instances(), way="c-get", traceparent=association.traceparent)
        ) as sent:
            async for one in sent:
                pages.over()
                _count(association, tally, one)
                yield tally.pending()
                if request.cancelled.is_set():
                    break
    except Unavailable as error:
        log.warning("get not finished", correlation_id=association.id, error=str(error), remaining=tally.remaining)
        for instance in pages.open:
            tally.add(Sent(instance, None, str(error)))
        tally.give_up(str(error))
    final = tally.final(cancelled=request.cancelled.is_set() and tally.remaining > 0)
    log.info("got", correlation_id=association.id, status=f"0x{final.status:04X}", completed=tally.completed,
             failed=tally.failed, warning=tally.warning)  # fmt: skip
    yield final


class _Pages:
    """The instances of a plan; `open` are those that were given and are not over."""

    def __init__(self, bus: Bus, question: PlanRequested, first: Plan) -> None:
        self._bus, self._question, self._plan = bus, question, first
        self.open: deque[PlannedInstance] = deque()

    async def instances(self) -> AsyncIterator[PlannedInstance]:
        """Give all in order. Raises `Unavailable` when a further page does not come."""
        while True:
            for instance in self._plan.instances:
                self.open.append(instance)
                yield instance
            if self._plan.cursor is None:
                return
            question = self._question.model_copy(update={"cursor": self._plan.cursor})
            try:
                self._plan = await self._bus.request(PLAN, question, timeout=TIMEOUT)
            except RequestFailed as error:
                raise Unavailable(f"the plan ends early: {error}") from error

    def over(self) -> None:
        """The first one that is open was sent, or not."""
        self.open.popleft()


class _Common(TypedDict):
    """The fields that requests for C-MOVE and C-GET share."""

    correlation_id: str
    traceparent: str
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes


def _common(association: AssociationInfo, request: Asked) -> _Common:
    return {
        "correlation_id": association.id,
        "traceparent": association.traceparent,
        "sop_class_uid": request.context.abstract_syntax,
        "transfer_syntax_uid": request.context.transfer_syntax,
        "identifier": request.identifier,
    }


def _count(association: AssociationInfo, tally: Tally, sent: Sent) -> None:
    tally.add(sent)
    if sent.reason:
        log.warning("instance not taken", correlation_id=association.id, instance=sent.instance.sop_instance_uid,
                    reason=sent.reason)  # fmt: skip


def to_response(progress: MoveProgress | None) -> RetrieveResponse:
    """Return the response for how far a C-MOVE is, pending or final (PS3.4 Table C.4-2); None: that is not known."""
    if progress is None:
        comment = "no word of the move, which may go on"
        return RetrieveResponse(Status.UNABLE_TO_PERFORM_SUB_OPERATIONS, comment=comment)
    tally = Tally(
        progress.remaining,
        progress.completed,
        progress.failed,
        progress.warning,
        progress.failed_uids,
        progress.error_comment,
    )
    return tally.final(cancelled=progress.cancelled) if progress.done else tally.pending()


def _not_begun(association: AssociationInfo, error: Unavailable | RequestFailed) -> RetrieveResponse:
    log.warning("retrieval not begun", correlation_id=association.id, error=str(error))
    if isinstance(error, RequestFailed):
        outcome = RETRIEVE_STATUSES.outcome(error)
        return RetrieveResponse(outcome.status, comment=outcome.comment)
    comment = "nobody answers who could plan it, try again later"
    return RetrieveResponse(Status.UNABLE_TO_CALCULATE_MATCHES, comment=comment)
