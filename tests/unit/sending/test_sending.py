"""Sending from packs: what is read, what a failure touches, what is transcoded, how much memory it takes."""

import asyncio
import gc
import hashlib
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from osteon.bus.memory import MemoryBus
from osteon.bus.port import BusUnavailable
from osteon.contracts.imaging import TranscodeReply, TranscodeRequest
from osteon.contracts.retrieve import PlannedInstance
from osteon.contracts.topology import TRANSCODE
from osteon.dimse.errors import AssociationAborted
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.errors import OsteonError
from osteon.objects.port import ObjectsUnavailable
from osteon.sending.reader import ReadLimits
from osteon.sending.store_sender import StoreSender
from osteon.sending.suboperations import SubOperationOutcome, SubOperationResult
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT, MR
from support.sending.fakes import FakeStoreAssociation, MemoryPacks, each

J2K, JPEG = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50"
QUICK = ReadLimits(attempts=3, first_pause=0.0)
ONE_BY_ONE = replace(QUICK, request_instances=1)


@pytest.fixture
def packs() -> MemoryPacks:
    return MemoryPacks()


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus()
    await made.start()
    yield made
    await made.close()


async def send(
    packs: MemoryPacks,
    line: FakeStoreAssociation,
    instances: Sequence[PlannedInstance],
    bus: object = None,
    **more: object,
) -> list[SubOperationResult]:
    options = {name: more.pop(name) for name in ("transcode", "move_originator") if name in more}
    sending = StoreSender(packs, bus, **{"read_limits": QUICK, **more})
    return [sent async for sent in sending.send(line, each(instances), **options)]


async def until_broken(sending: AsyncGenerator[SubOperationResult]) -> list[SubOperationResult]:
    """Return what was sent before the association ended."""
    results = []
    while True:
        try:
            results.append(await anext(sending))
        except AssociationAborted:
            return results


def states(results: Sequence[SubOperationResult]) -> list[str]:
    return [sent.counts_as.value for sent in results]


async def test_the_data_sets_arrive_as_they_are_in_the_packs_and_in_order(packs):
    planned = [packs.add(size, key=f"1/1/{key}.tar") for key in "ab" for size in (0, 10, 100, 70_001)]
    line = FakeStoreAssociation()
    results = await send(packs, line, planned, move_originator=("ASKER", 7))
    assert states(results) == ["completed"] * 8
    assert [len(data) for _, _, data in line.sent] == [0, 10, 100, 70_001] * 2
    assert line.uids == [instance.sop_instance_uid for instance in planned]
    assert all(data == (uid.encode() * 70_001)[: len(data)] for uid, _, data in line.sent)
    assert set(line.originators) == {("ASKER", 7)}
    assert [sent.bytes for sent in results] == [0, 10, 100, 70_001] * 2


async def test_neighbours_in_a_pack_are_read_in_one_request(packs):
    planned = [packs.add(1000) for _ in range(50)] + [packs.add(1000, key="1/1/b.tar") for _ in range(50)]
    await send(packs, FakeStoreAssociation(), planned)
    assert [key for key, _, _ in packs.reads] == ["1/1/a.tar", "1/1/b.tar"]


async def test_what_lies_far_apart_or_in_another_order_is_read_apart(packs):
    first, _, last = packs.add(10), packs.add(200_000), packs.add(10)
    await send(packs, FakeStoreAssociation(), [last, first])
    assert sum(length for _, _, length in packs.reads) < 2000


@pytest.mark.parametrize("checksum", [False, True])
async def test_a_damaged_instance_fails_alone(packs, checksum):
    planned = [packs.add(100, checksum=checksum) for _ in range(5)]
    pack = packs.objects["1/1/a.tar"]
    pack[planned[1].offset + planned[1].length - 1] ^= 1  # its data set
    pack[planned[2].offset + 128] ^= 1  # its prefix
    results = await send(packs, FakeStoreAssociation(), planned)
    assert states(results) == ["completed", "failed", "failed", "completed", "completed"]
    assert ("checksum" if checksum else "SHA-256") in results[1].reason
    assert "DICM" in results[2].reason
    assert not results[1].transient


async def test_damage_is_not_looked_for_when_that_is_switched_off(packs):
    planned = packs.add(100)
    packs.objects["1/1/a.tar"][planned.offset + planned.length - 1] ^= 1
    assert states(await send(packs, FakeStoreAssociation(), [planned], verify=False)) == ["completed"]


async def test_the_digest_of_the_index_counts_more_than_that_in_the_file(packs):
    planned = packs.add(100).model_copy(update={"sha256": hashlib.sha256(b"other").digest()})
    assert states(await send(packs, FakeStoreAssociation(), [planned])) == ["failed"]


async def test_the_fast_checksum_counts_instead_of_the_digest_and_covers_the_whole_file(packs):
    wrong = {"sha256": hashlib.sha256(b"other").digest()}
    planned = [packs.add(100, checksum=True).model_copy(update=wrong) for _ in range(2)]
    pack = packs.objects["1/1/a.tar"]
    pack[planned[1].offset + 40] ^= 1  # in the preamble, which nobody reads
    assert states(await send(packs, FakeStoreAssociation(), planned)) == ["completed", "failed"]


async def test_another_instance_in_the_place_of_one_is_not_sent_under_its_uid(packs):
    first, second = packs.add(100), packs.add(100)
    wrong = first.model_copy(update={"offset": second.offset, "length": second.length})
    other = second.model_copy(update={"transfer_syntax_uid": IMPLICIT})
    results = await send(packs, FakeStoreAssociation((CT, EXPLICIT), (CT, IMPLICIT)), [wrong, other])
    assert states(results) == ["failed", "failed"]
    assert second.sop_instance_uid in results[0].reason
    assert EXPLICIT in results[1].reason


async def test_a_pack_that_was_cut_short_still_gives_its_first_instances(packs):
    planned = [packs.add(100) for _ in range(4)]
    del packs.objects["1/1/a.tar"][planned[2].offset + 50 :]
    assert states(await send(packs, FakeStoreAssociation(), planned)) == ["completed", "completed", "failed", "failed"]


async def test_a_pack_that_is_gone_or_cannot_be_read_fails_alone(packs):
    planned = [packs.add(key=f"1/1/{key}.tar") for key in "abc"]
    del packs.objects["1/1/a.tar"]
    packs.broken.add("1/1/b.tar")
    results = await send(packs, FakeStoreAssociation(), planned)
    assert states(results) == ["failed", "failed", "completed"]
    assert "input/output error" in results[1].reason


async def test_a_store_that_is_down_is_no_failure_of_instances(packs):
    planned = packs.add()
    packs.down = True
    with pytest.raises(ObjectsUnavailable):
        await send(packs, FakeStoreAssociation(), [planned])


async def test_what_the_peer_answers_is_counted(packs):
    planned = [packs.add(uid=f"1.2.{n}") for n in range(3)]
    line = FakeStoreAssociation()
    line.answers = {"1.2.0": Outcome(Status(0xB000)), "1.2.1": Outcome(Status.OUT_OF_RESOURCES, "full")}
    assert states(await send(packs, line, planned)) == ["warning", "failed", "completed"]


async def test_an_association_that_ends_is_told_and_what_was_answered_before_is_not_lost(packs):
    planned = [packs.add(uid=f"1.2.{n}") for n in range(4)]
    line = FakeStoreAssociation()
    line.breaks["1.2.2"] = AssociationAborted("gone")
    results = await until_broken(StoreSender(packs, None, read_limits=QUICK).send(line, each(planned)))
    assert [sent.instance.sop_instance_uid for sent in results] == ["1.2.0", "1.2.1"]


@pytest.mark.parametrize("checksum", [False, True])
async def test_a_long_instance_is_read_in_pieces_and_verified_before_its_end(packs, checksum):
    in_pieces = replace(QUICK, request_bytes=10_000)
    planned = packs.add(45_000, checksum=checksum)
    line = FakeStoreAssociation()
    assert states(await send(packs, line, [planned], read_limits=in_pieces)) == ["completed"]
    assert len(line.sent[0][2]) == 45_000
    assert max(length for _, _, length in packs.reads) == 10_000
    packs.objects["1/1/a.tar"][-1] ^= 1
    broken = FakeStoreAssociation()
    sender = StoreSender(packs, None, read_limits=in_pieces)
    results = await until_broken(sender.send(broken, each([planned, packs.add(10)])))
    assert states(results) == ["failed"]
    assert ("checksum" if checksum else "SHA-256") in results[0].reason
    assert broken.sent == []


async def test_an_instance_of_300_mb_takes_a_few_pieces_of_memory():
    class Endless(MemoryPacks):
        async def get_range(self, key: str, offset: int, length: int) -> bytes:
            head = bytes(self.objects[key][offset : offset + length])
            return head + bytes(length - len(head))

    packs = Endless()
    planned = packs.add(0)
    size = 300 << 20
    planned = planned.model_copy(update={"length": planned.length + size})
    received = 0

    class Counting(FakeStoreAssociation):
        async def store(self, context, sop_class_uid, sop_instance_uid, data, **_):
            nonlocal received
            async for part in data:
                received += len(part)
            return Outcome(Status.SUCCESS)

    gc.collect()
    tracemalloc.start()
    try:
        await send(packs, Counting(), [planned], verify=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received == size
    assert peak < 6 * QUICK.request_bytes


async def test_no_more_is_read_ahead_than_is_allowed(packs):
    planned = [packs.add(1000) for _ in range(30)]
    sending = StoreSender(packs, None, read_ahead=5000, read_limits=ONE_BY_ONE)
    async with aclosing(sending.send(FakeStoreAssociation(), each(planned))) as results:
        await anext(results)
        async with asyncio.timeout(20):
            while len(packs.reads) < 3:
                await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert len(packs.reads) <= 5


async def test_when_the_memory_of_all_is_used_up_each_still_gets_on(packs):
    planned = [packs.add(1000) for _ in range(30)]
    sending = StoreSender(packs, None, memory=1, read_limits=ONE_BY_ONE)

    async def one() -> list[SubOperationResult]:
        return [sent async for sent in sending.send(FakeStoreAssociation(), each(planned))]

    for results in await asyncio.gather(*(one() for _ in range(5))):
        assert states(results) == ["completed"] * 30
    assert sending.memory.used == 0


async def test_a_sending_that_is_left_early_gives_its_memory_back(packs):
    sending = StoreSender(packs, None, read_limits=ONE_BY_ONE)
    async with aclosing(sending.send(FakeStoreAssociation(), each([packs.add(1000) for _ in range(30)]))) as results:
        await anext(results)
        await asyncio.sleep(0)
    assert sending.memory.used == 0


class Imaging:
    """Answers as `imaging` does: each instance becomes an object of its own."""

    def __init__(self, packs: MemoryPacks, *, error: str = "", uid: str = "") -> None:
        self.packs, self.error, self.uid = packs, error, uid
        self.asked: list[TranscodeRequest] = []

    async def __call__(self, request: TranscodeRequest) -> TranscodeReply:
        self.asked.append(request)
        if self.error:
            raise OsteonError(self.error)
        key = f"cache/{len(self.asked)}"
        uid = self.uid or f"1.2.{len(self.asked) - 1}"
        made = self.packs.add(200, key=key, uid=uid, syntax=request.targets[0])
        self.packs.objects[key] = self.packs.objects[key][made.offset :]
        return TranscodeReply(
            correlation_id="", key=key, length=made.length, transfer_syntax_uid=request.targets[0],
            sop_instance_uid=self.uid,
        )  # fmt: skip


async def test_what_the_peer_does_not_take_as_it_is_stored_is_transcoded_and_the_copy_deleted(packs, bus):
    imaging = Imaging(packs)
    await bus.serve(TRANSCODE, imaging)
    planned = [packs.add(uid="1.2.0", syntax=J2K), packs.add(uid="1.2.9"), packs.add(uid="1.2.1", syntax=J2K)]
    line = FakeStoreAssociation((CT, EXPLICIT), (CT, IMPLICIT))
    assert states(await send(packs, line, planned, bus)) == ["completed"] * 3
    assert [(uid, syntax) for uid, syntax, _ in line.sent] == [
        ("1.2.0", EXPLICIT), ("1.2.9", EXPLICIT), ("1.2.1", EXPLICIT)
    ]  # fmt: skip
    assert len(line.sent[0][2]) == 200
    assert [(r.key, r.offset, r.targets, r.lossy) for r in imaging.asked] == [
        (p.key, p.offset, [EXPLICIT, IMPLICIT], []) for p in (planned[0], planned[2])
    ]
    await asyncio.sleep(0)
    assert sorted(packs.deleted) == ["cache/1", "cache/2"]


async def test_lossy_compression_is_used_only_when_it_is_allowed_and_under_the_new_uid(packs, bus):
    imaging = Imaging(packs, uid="2.25.7")
    await bus.serve(TRANSCODE, imaging)
    refused = await send(packs, FakeStoreAssociation((CT, JPEG)), [packs.add()], bus)
    assert states(refused) == ["failed"]
    assert imaging.asked == []
    line = FakeStoreAssociation((CT, JPEG))
    (sent,) = await send(packs, line, [packs.add()], bus, lossy=(JPEG,), quality=80)
    assert (sent.counts_as, sent.sop_instance_uid, line.uids) == (SubOperationOutcome.COMPLETED, "2.25.7", ["2.25.7"])
    assert (imaging.asked[0].lossy, imaging.asked[0].quality) == ([JPEG], 80)


async def test_what_cannot_be_transcoded_says_why(packs, bus):
    await bus.serve(TRANSCODE, Imaging(packs, error="no decoder"))
    planned = packs.add(syntax=J2K)
    (sent,) = await send(packs, FakeStoreAssociation(), [planned], bus)
    assert sent.counts_as is SubOperationOutcome.FAILED
    assert "no decoder" in sent.reason
    assert J2K in sent.reason
    (sent,) = await send(packs, FakeStoreAssociation(), [planned], bus, transcode=False)
    assert "may not be transcoded" in sent.reason
    (sent,) = await send(packs, FakeStoreAssociation((MR, EXPLICIT)), [planned], bus)
    assert sent.reason == f"the peer does not accept SOP class {CT}"


async def test_an_imaging_that_does_not_answer_is_a_passing_failure(packs):
    class Silent:
        async def request(self, *_: object, **__: object) -> None:
            raise BusUnavailable("nobody")

    (sent,) = await send(packs, FakeStoreAssociation(), [packs.add(syntax=J2K)], Silent())
    assert (sent.counts_as, sent.transient) == (SubOperationOutcome.FAILED, True)
