"""Sends instances on as few associations as their presentation contexts need, and again when one breaks."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final

from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.config import RequestedContext
from osteon.dimse.errors import NoAnswer, RequestorError
from osteon.dimse.handler import StoreUser
from osteon.logging import get_logger
from osteon.sending.contexts import ContextKey, context_key
from osteon.sending.suboperations import SubOperationResult

Connect = Callable[[Sequence[RequestedContext]], AbstractAsyncContextManager[StoreUser]]
"""Requests an association, as `partial(associate, remote, config=…)` does."""
Send = Callable[[StoreUser, AsyncIterable[PlannedInstance]], AsyncGenerator[SubOperationResult]]
Propose = Callable[[Iterable[ContextKey]], list[list[RequestedContext]]]

_GATHERED: Final = 1000
_BREAKS: Final = 6
"""Associations that may break one after the other without an answer before there is no sense in another one: three
instances that the peer does not survive may be neighbours. One on which no answer came in time counts thrice."""
log = get_logger(__name__)


class StoreDelivery:
    """Sends to one peer; at most one association at a time.

    Args:
        connect: requests an association.
        propose: returns the presentation contexts for SOP classes and transfer syntaxes, as `proposals` does.
        send: sends on an association, as `StoreSender.send` does.
    """

    def __init__(self, connect: Connect, propose: Propose, send: Send) -> None:
        self._connect = connect
        self._propose = propose
        self._send = send
        self._opened: AbstractAsyncContextManager[StoreUser] | None = None
        self._association: StoreUser | None = None
        self._covered: dict[ContextKey, None] = {}
        self._suspect = ""
        self._breaks = 0

    async def run(self, instances: AsyncIterable[PlannedInstance]) -> AsyncGenerator[SubOperationResult]:
        """Send all, in order; see `StoreSender.deliver`."""
        try:
            async with aclosing(_gathered(instances)) as gathered:
                async for some in gathered:
                    for kinds, queue in self._runs(some):
                        async with aclosing(self._run(kinds, queue)) as results:
                            async for sent in results:
                                yield sent
        except GeneratorExit:
            await self._end(None)
            raise
        except BaseException as error:
            await self._end(error)
            raise
        await self._end(None)

    def _runs(self, some: Sequence[PlannedInstance]) -> Iterator[tuple[dict[ContextKey, None], deque[PlannedInstance]]]:
        """Yield successive instances whose contexts go into one association, and their kinds."""
        kinds: dict[ContextKey, None] = {}
        queue: deque[PlannedInstance] = deque()
        for instance in some:
            kind = context_key(instance)
            if kind not in kinds and not self._fit({**kinds, kind: None}):
                yield kinds, queue
                kinds, queue = {}, deque()
            kinds[kind] = None
            queue.append(instance)
        yield kinds, queue

    def _fit(self, kinds: Iterable[ContextKey]) -> bool:
        return len(self._propose(kinds)) == 1

    async def _run(
        self, kinds: dict[ContextKey, None], queue: deque[PlannedInstance]
    ) -> AsyncGenerator[SubOperationResult]:
        while queue:
            association = await self._association_for(kinds)
            try:
                async with aclosing(self._send(association, _each(tuple(queue)))) as results:
                    async for sent in results:
                        queue.popleft()
                        self._breaks = 0 if sent.outcome is not None else self._breaks
                        yield sent
            except RequestorError as error:
                await self._end(error)
                if (failed := self._broken(queue, error)) is not None:
                    yield failed
                if self._breaks >= _BREAKS:
                    raise

    def _broken(self, queue: deque[PlannedInstance], error: RequestorError) -> SubOperationResult | None:
        """Return what an association that broke means for the instance: its failure, or None to send it again."""
        self._breaks += 3 if isinstance(error, NoAnswer) else 1
        if not queue:
            return None
        log.warning("association broke", instance=queue[0].sop_instance_uid, error=str(error), left=len(queue))
        if queue[0].sop_instance_uid == self._suspect:
            reason = f"the association broke twice while it was sent: {error}"
            return SubOperationResult(queue.popleft(), None, reason, transient=True, broken=True)
        self._suspect = queue[0].sop_instance_uid
        return None

    async def _association_for(self, kinds: dict[ContextKey, None]) -> StoreUser:
        if self._association is None or not kinds.keys() <= self._covered.keys():
            await self._end(None)
            # What was needed before is likely to be needed again.
            both = {**kinds, **self._covered}
            self._covered = both if self._fit(both) else dict(kinds)
            opening = self._connect(self._propose(self._covered)[0])
            self._association = await opening.__aenter__()
            self._opened = opening
        return self._association

    async def _end(self, error: BaseException | None) -> None:
        """Release the association, or abort it after an error."""
        opened, self._opened, self._association = self._opened, None, None
        if opened is None:
            return
        try:
            await opened.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)
        except RequestorError as late:
            # All requests are answered: that the peer does not wait for the release does no harm.
            log.info("association not released", error=str(late))


async def _each(instances: Iterable[PlannedInstance]) -> AsyncIterator[PlannedInstance]:
    for instance in instances:
        yield instance


async def _gathered(instances: AsyncIterable[PlannedInstance]) -> AsyncGenerator[list[PlannedInstance]]:
    """Yield instances by the thousand; the next ones are gathered meanwhile."""
    source = aiter(instances)
    following = asyncio.create_task(_take(source))
    try:
        while some := await following:
            following = asyncio.create_task(_take(source))
            yield some
    finally:
        following.cancel()
        await asyncio.wait([following])
        if not following.cancelled():
            following.exception()


async def _take(source: AsyncIterator[PlannedInstance]) -> list[PlannedInstance]:
    taken: list[PlannedInstance] = []
    while len(taken) < _GATHERED and (instance := await anext(source, None)) is not None:
        taken.append(instance)
    return taken
