"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): `dispatcher` moves, and plans what this door sends for a C-GET."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final, TypeVar

from osteon.bus.port import Bus
from osteon.contracts.retrieve import (
    MoveProgress,
    MoveRequested,
    MoveStarted,
    MoveWatched,
    Plan,
    PlannedInstance,
    PlanRequested,
    RetrieveRequest,
)
from osteon.contracts.topology import MOVE, PLAN, WATCH
from osteon.dimse.handler import AssociationInfo, GetRequest, MoveRequest, Outcome, RetrieveResponse
from osteon.dimse.handler import RetrieveOperationRequest as Asked
from osteon.dimse.status import Status
from osteon.errors import Unavailable
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
M = TypeVar("M", bound=RetrieveRequest)

log = get_logger(__name__)


async def refuse_retrieve(outcome: Outcome) -> AsyncGenerator[RetrieveResponse]:
    """Give one response, which refuses."""
    yield RetrieveResponse(outcome.status, comment=outcome.comment)


async def move(association: AssociationInfo, request: MoveRequest, bus: Bus) -> AsyncGenerator[RetrieveResponse]:
    """Have it moved, and tell how far it is. Closing the generator before the final response stops it."""
    more = {"destination": request.destination, "message_id": request.message_id}
    try:
        started = await bus.request(MOVE, _question(MoveRequested, association, request, **more), timeout=TIMEOUT)
    except Unavailable as error:
        yield _unplanned(association, error)
        return
    assert isinstance(started, MoveStarted)
    if not started.job_id:
        yield _refused(started.status, started.error_comment)
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
                yield _told(progress)
        finally:
            if not over:
                with suppress(Unavailable):  # the job ends by itself when all is sent
                    await self._ask(cancel=True, timeout=_LAST_WORD)

    async def _next(self) -> MoveProgress | None:
        """Return how far it is, None when nobody says for `PATIENCE` seconds."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while True:
            try:
                return await self._look()
            except Unavailable as error:
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
        assert isinstance(progress, MoveProgress)
        self._seen = progress.completed + progress.failed + progress.warning
        return progress


async def get(
    association: AssociationInfo, request: GetRequest, bus: Bus, sending: Sending
) -> AsyncGenerator[RetrieveResponse]:
    """Send on the association itself, and tell how far it is."""
    question = _question(PlanRequested, association, request)
    try:
        plan = await _page(bus, question)
    except Unavailable as error:
        yield _unplanned(association, error)
        return
    if plan.status != Status.SUCCESS:
        yield _refused(plan.status, plan.error_comment)
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
            self._plan = await _page(self._bus, self._question.model_copy(update={"cursor": self._plan.cursor}))
            if self._plan.status != Status.SUCCESS:
                raise Unavailable(f"the plan ends early: 0x{self._plan.status:04X} {self._plan.error_comment}".rstrip())

    def over(self) -> None:
        """The first one that is open was sent, or not."""
        self.open.popleft()


async def _page(bus: Bus, question: PlanRequested) -> Plan:
    plan = await bus.request(PLAN, question, timeout=TIMEOUT)
    assert isinstance(plan, Plan)
    return plan


def _question(kind: type[M], association: AssociationInfo, request: Asked, **more: object) -> M:
    return kind.model_validate(
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


def _count(association: AssociationInfo, tally: Tally, sent: Sent) -> None:
    tally.add(sent)
    if sent.reason:
        log.warning("instance not taken", correlation_id=association.id, instance=sent.instance.sop_instance_uid,
                    reason=sent.reason)  # fmt: skip


def _told(progress: MoveProgress | None) -> RetrieveResponse:
    if progress is None:
        comment = "no word of the move, which may go on"
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


def _unplanned(association: AssociationInfo, error: Unavailable) -> RetrieveResponse:
    log.warning("retrieval not answered", correlation_id=association.id, error=str(error))
    comment = "nobody answers who could plan it, try again later"
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
