"""The bus is typed end to end, as `make lint` proves: a wrong call that mypy accepts is an unused ignore. Never run."""

from osteon.bus.port import Bus
from osteon.contracts.find import FindPageReply, FindPageRequest
from osteon.contracts.packs import PackIndexed, PackStored
from osteon.contracts.retrieve import RetrievePlanReply, RetrievePlanRequest
from osteon.contracts.topology import FIND, INDEXER, RETRIEVE_PLAN, ROUTER


async def find(_: FindPageRequest) -> FindPageReply:
    raise NotImplementedError


async def take(_: PackIndexed) -> None:
    raise NotImplementedError


async def right(bus: Bus, request: FindPageRequest) -> FindPageReply:
    await bus.serve(FIND, find)
    await bus.consume(ROUTER, take)
    await bus.subscribe(PackIndexed, take)
    return await bus.request(FIND, request, timeout=1)


async def wrong(bus: Bus, request: FindPageRequest, other: RetrievePlanRequest) -> None:
    reply: RetrievePlanReply = await bus.request(FIND, request, timeout=1)  # type: ignore[arg-type]
    assert reply
    await bus.request(FIND, other, timeout=1)  # type: ignore[misc]
    await bus.serve(RETRIEVE_PLAN, find)  # type: ignore[arg-type]
    await bus.consume(INDEXER, take)  # type: ignore[arg-type]
    await bus.subscribe(PackStored, take)  # type: ignore[arg-type]
