"""A C-FIND that nobody waits for any more ends in every `query`, over RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from osteon.bus.rabbit import RabbitBus
from osteon.contracts.find import FindCancelled, FindPageReply, FindPageRequest
from osteon.contracts.topology import FIND
from osteon.dimse.handler import AssociationInfo, FindRequest, PresentationContext
from osteon_ingress.find import find
from osteon_query.search.find_requests import FindRequests
from support.bus.messages import eventually
from support.services.parts import RabbitMQ

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ENDLESS = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENTS = "1.2.840.10008.5.1.4.1.2.1.1"


@pytest.fixture
async def buses(rabbitmq: RabbitMQ) -> AsyncIterator[list[RabbitBus]]:
    """The connections of an ingress and of two queries."""
    async with AsyncExitStack() as stack:
        opened = [RabbitBus(rabbitmq.url) for _ in range(3)]
        for bus in opened:
            await bus.start()
            stack.push_async_callback(bus.close, grace=5)
        yield opened


def ask(bus: RabbitBus, sop_class: str) -> asyncio.Task[object]:
    """Send a C-FIND as `ingress` does, and wait for its first response."""
    association = AssociationInfo("a1", "VIEWER", "OSTEON", "192.0.2.9", 5000)
    context = PresentationContext(3, sop_class, "1.2.840.10008.1.2")
    return asyncio.create_task(anext(find(association, FindRequest(1, context, b""), bus)))  # type: ignore[arg-type]


async def test_a_c_find_that_is_cancelled_ends_its_search_and_no_other(buses: list[RabbitBus]) -> None:
    ingress, *queries = buses
    began: list[str] = []
    ended: list[str] = []

    async def search(request: FindPageRequest) -> FindPageReply:
        began.append(request.sop_class_uid)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(request.sop_class_uid)
        raise AssertionError("unreachable")

    running = [FindRequests(search) for _ in queries]
    for bus, requests in zip(queries, running, strict=True):
        await bus.subscribe(FindCancelled, requests.cancel)
        await bus.serve(FIND, requests.answer)
    cancelled, other = ask(ingress, ENDLESS), ask(ingress, PATIENTS)
    await eventually(lambda: sorted(began) == sorted([ENDLESS, PATIENTS]))
    cancelled.cancel()
    await eventually(lambda: ended == [ENDLESS])
    assert sum(requests.running for requests in running) == 1
    other.cancel()
    await eventually(lambda: sorted(ended) == sorted([ENDLESS, PATIENTS]))
    assert sum(requests.running for requests in running) == 0
