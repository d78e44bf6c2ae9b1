"""Associations that sending asks for: how many, for what, and what happens when one breaks."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import pytest

from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.config import RequestedContext
from osteon.dimse.errors import AssociationAborted, ConnectFailed, NoAnswer
from osteon.sending.store_sender import StoreSender
from osteon.sending.suboperations import SubOperationOutcome, SubOperationResult
from support.dimse.raw_peer import CT, MR
from support.sending.fakes import FakeStoreAssociation, MemoryPacks, each


class AcceptingPeer:
    """Accepts what is proposed; `breaks` are SOP Instance UIDs, with how often they break an association."""

    def __init__(self, **breaks: int) -> None:
        self.breaks = {uid.replace("_", "."): times for uid, times in breaks.items()}
        self.lines: list[FakeStoreAssociation] = []
        self.ends: list[str] = []
        self.refuses: Exception | None = None
        self.error: type[Exception] = AssociationAborted

    @asynccontextmanager
    async def connect(self, contexts: Sequence[RequestedContext]) -> AsyncIterator[FakeStoreAssociation]:
        if self.refuses is not None:
            raise self.refuses
        peer = self

        class Breaking(FakeStoreAssociation):
            async def store(self, context, sop_class_uid, sop_instance_uid, data, **more):
                if peer.breaks.get(sop_instance_uid, 0):
                    peer.breaks[sop_instance_uid] -= 1
                    self.error = peer.error("broken")
                return await super().store(context, sop_class_uid, sop_instance_uid, data, **more)

        line = Breaking(*((each.abstract_syntax, each.transfer_syntaxes[0]) for each in contexts))
        self.lines.append(line)
        try:
            yield line
        except BaseException:
            self.ends.append("aborted")
            raise
        self.ends.append("released")

    @property
    def uids(self) -> list[str]:
        return [uid for line in self.lines for uid in line.uids]


@pytest.fixture
def packs() -> MemoryPacks:
    return MemoryPacks()


async def deliver(
    packs: MemoryPacks, peer: AcceptingPeer, instances: Sequence[PlannedInstance]
) -> list[SubOperationResult]:
    return [sent async for sent in StoreSender(packs, None).deliver(peer.connect, each(instances))]


async def test_one_association_is_enough_for_many_instances(packs):
    planned, peer = [packs.add() for _ in range(2500)], AcceptingPeer()
    results = await deliver(packs, peer, planned)
    assert len(results) == 2500
    assert peer.uids == [instance.sop_instance_uid for instance in planned]
    assert peer.ends == ["released"]


async def test_nothing_to_send_asks_for_no_association(packs):
    peer = AcceptingPeer()
    assert await deliver(packs, peer, []) == []
    assert peer.lines == []


async def test_a_class_that_comes_later_gets_a_new_association_that_does_for_both(packs):
    planned = [packs.add() for _ in range(1000)]
    planned += [packs.add(sop_class=uid) for uid in (MR, CT) for _ in range(1000)]
    peer = AcceptingPeer()
    results = await deliver(packs, peer, planned)
    assert {sent.counts_as for sent in results} == {SubOperationOutcome.COMPLETED}
    assert [len(line.uids) for line in peer.lines] == [1000, 2000]
    assert peer.ends == ["released", "released"]


async def test_more_contexts_than_an_association_may_have_are_spread_over_several(packs):
    planned = [packs.add(sop_class=f"1.2.3.{n}") for n in range(150)]
    peer = AcceptingPeer()
    results = await deliver(packs, peer, planned)
    assert {sent.counts_as for sent in results} == {SubOperationOutcome.COMPLETED}
    assert all(len(line.contexts) <= 128 for line in peer.lines)
    assert len(peer.lines) == 3


async def test_an_instance_on_which_an_association_broke_is_sent_on_another_one(packs):
    planned = [packs.add(uid=f"1.{n}") for n in range(4)]
    peer = AcceptingPeer(**{"1_2": 1})
    results = await deliver(packs, peer, planned)
    assert [sent.counts_as.value for sent in results] == ["completed"] * 4
    assert peer.uids == ["1.0", "1.1", "1.2", "1.3"]
    assert peer.ends == ["aborted", "released"]


async def test_an_instance_that_breaks_each_association_fails_and_the_others_are_sent(packs):
    planned = [packs.add(uid=f"1.{n}") for n in range(4)]
    peer = AcceptingPeer(**{"1_1": 9})
    results = await deliver(packs, peer, planned)
    assert [sent.counts_as.value for sent in results] == ["completed", "failed", "completed", "completed"]
    assert "broke twice" in results[1].reason
    assert results[1].broken
    assert len(peer.lines) == 3


async def test_a_peer_that_breaks_every_association_is_left_alone(packs):
    planned = [packs.add(uid=f"1.{n}") for n in range(9)]
    peer = AcceptingPeer(**{f"1_{n}": 9 for n in range(9)})
    with pytest.raises(AssociationAborted):
        await deliver(packs, peer, planned)
    assert len(peer.lines) == 6


async def test_a_peer_that_is_not_there_is_not_asked_again(packs):
    peer = AcceptingPeer()
    peer.refuses = ConnectFailed("nobody")
    with pytest.raises(ConnectFailed):
        await deliver(packs, peer, [packs.add(uid=uid) for uid in ("1.0", "1.1", "1.2")])
    assert peer.lines == []


async def test_a_peer_that_does_not_answer_twice_in_a_row_is_left_alone_and_the_instance_is_named(packs):
    peer = AcceptingPeer(**{"1_1": 9, "1_2": 9})
    peer.error = NoAnswer
    results: list[SubOperationResult] = []
    planned = [packs.add(uid=uid) for uid in ("1.0", "1.1", "1.2")]
    with pytest.raises(NoAnswer):
        async for sent in StoreSender(packs, None).deliver(peer.connect, each(planned)):
            results.append(sent)  # noqa: PERF401 -- what came before the error is wanted
    assert [(sent.instance.sop_instance_uid, sent.broken) for sent in results] == [("1.0", False), ("1.1", True)]
    assert peer.ends == ["aborted", "aborted"]


async def test_a_peer_that_does_not_answer_once_is_asked_again(packs):
    peer = AcceptingPeer(**{"1_1": 1})
    peer.error = NoAnswer
    await deliver(packs, peer, [packs.add(uid=uid) for uid in ("1.0", "1.1", "1.2")])
    assert peer.uids == ["1.0", "1.1", "1.2"]


async def test_leaving_early_releases_the_association(packs):
    peer = AcceptingPeer()
    async with aclosing(
        StoreSender(packs, None).deliver(peer.connect, each([packs.add() for _ in range(9)]))
    ) as results:
        await anext(results)
    assert peer.ends == ["released"]


async def test_being_cancelled_aborts_the_association(packs):
    peer = AcceptingPeer()

    async def slow() -> AsyncIterator[PlannedInstance]:
        yield packs.add()
        yield packs.add(key="1/1/b.tar")

    held = asyncio.Event()

    async def get_range(key: str, offset: int, length: int) -> bytes:
        held.set()
        await asyncio.Event().wait()
        return b""

    packs.get_range = get_range

    async def run() -> None:
        async for _ in StoreSender(packs, None).deliver(peer.connect, slow()):
            pass

    task = asyncio.create_task(run())
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert peer.ends == ["aborted"]


async def test_what_gives_the_instances_may_fail_and_is_heard(packs):
    async def failing() -> AsyncIterator[PlannedInstance]:
        yield packs.add()
        raise ConnectFailed("the plan is gone")

    peer = AcceptingPeer()
    with pytest.raises(ConnectFailed, match="the plan is gone"):
        async for _ in StoreSender(packs, None).deliver(peer.connect, failing()):
            pass
