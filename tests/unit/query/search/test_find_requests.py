"""Searches that nobody waits for any more end in `query` too."""

import asyncio

import pytest

from osteon.bus.memory import MemoryBus
from osteon.contracts.find import FindCancelled, FindPageReply, FindPageRequest
from osteon.contracts.topology import FIND
from osteon.dimse.handler import AssociationInfo, FindRequest, PresentationContext
from osteon.errors import FailureKind
from osteon_ingress.find import find
from osteon_query.search.find_requests import FindRequests, SearchAbandoned


class EndlessSearch:
    """Never finds a page; remembers how its searches end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ends: list[str] = []

    async def __call__(self, request: FindPageRequest) -> FindPageReply:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.ends.append(request.request_id)
            raise
        raise AssertionError("unreachable")


def request(request_id: str, seconds: float = 30) -> FindPageRequest:
    return FindPageRequest(
        correlation_id="c", sop_class_uid="1.2", transfer_syntax_uid="1.2.840.10008.1.2", identifier=b"",
        called_aet="OSTEON", request_id=request_id, timeout_seconds=seconds,
    )  # fmt: skip


async def until_over(requests: FindRequests) -> None:
    async with asyncio.timeout(30):
        while requests.running:
            await asyncio.sleep(0.01)


async def test_a_search_ends_when_it_is_cancelled_and_no_other_does() -> None:
    search = EndlessSearch()
    requests = FindRequests(search)
    one, other = (asyncio.create_task(requests.answer(request(name))) for name in ("one", "other"))
    await search.began.wait()
    await requests.cancel(FindCancelled(correlation_id="c", request_id="one"))
    with pytest.raises(SearchAbandoned, match="cancelled"):
        await one
    assert (search.ends, requests.running) == (["one"], 1)
    other.cancel()
    await asyncio.wait([other])
    assert (search.ends, requests.running) == (["one", "other"], 0)


async def test_a_search_that_was_cancelled_while_it_waited_does_not_begin() -> None:
    search = EndlessSearch()
    requests = FindRequests(search)
    await requests.cancel(FindCancelled(correlation_id="c", request_id="one"))
    await requests.cancel(FindCancelled(correlation_id="c", request_id=""))
    with pytest.raises(SearchAbandoned):
        await requests.answer(request("one"))
    assert not search.began.is_set()
    with pytest.raises(SearchAbandoned, match="too long"):
        await requests.answer(request("", seconds=0.05))


async def test_a_search_ends_when_its_reply_is_awaited_no_longer() -> None:
    search = EndlessSearch()
    with pytest.raises(SearchAbandoned) as error:
        await FindRequests(search).answer(request("one", seconds=0.05))
    assert error.value.kind is FailureKind.TIMEOUT
    await asyncio.sleep(0)
    assert search.ends == ["one"]


async def test_pages_and_errors_of_the_search_pass() -> None:
    async def page(request: FindPageRequest) -> FindPageReply:
        if request.request_id == "bad":
            raise ValueError("bad")
        return FindPageReply(correlation_id=request.correlation_id)

    requests = FindRequests(page)
    assert await requests.answer(request("good")) == FindPageReply(correlation_id="c")
    with pytest.raises(ValueError, match="bad"):
        await requests.answer(request("bad"))
    assert requests.running == 0


async def test_a_c_find_that_is_cancelled_ends_the_search_of_its_page_over_the_bus() -> None:
    bus, search = MemoryBus(), EndlessSearch()
    requests = FindRequests(search)
    await bus.start()
    await bus.subscribe(FindCancelled, requests.cancel)
    await bus.serve(FIND, requests.answer)
    context = PresentationContext(3, "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.2")
    association = AssociationInfo("a1", "VIEWER", "OSTEON", "192.0.2.9", 5000)
    responses = asyncio.create_task(anext(find(association, FindRequest(1, context, b""), bus)))  # type: ignore[arg-type]
    await search.began.wait()
    responses.cancel()
    await asyncio.wait([responses])
    await until_over(requests)
    assert len(search.ends) == 1
    await bus.close(grace=1)
