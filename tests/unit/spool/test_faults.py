"""Disks that fail at any moment: what was acknowledged stays, what was never sent does not appear."""

import asyncio
import errno
import random
import tarfile
from pathlib import Path

import pytest

from osteon.dimse.handler import Outcome, StoreRequest
from osteon.dimse.status import Status
from osteon.packs.tar import END_OF_ARCHIVE
from osteon.spool.association_spool import AssociationSpool
from osteon.spool.buffer_pool import LARGE
from osteon.spool.spool import Spool, SpoolConfig
from support.spool.instances import CONTEXT, CT, FaultyDisk, RecordingPublish, association, contents, data_set, store

pytestmark = pytest.mark.slow


async def break_off(intake: AssociationSpool, sop: str, data: bytes) -> None:
    sink = intake.begin(StoreRequest(1, CT, sop), CONTEXT)
    assert not isinstance(sink, Outcome)
    for start in range(0, len(data) // 2, 50_000):
        if (waiting := sink.write(memoryview(data)[start : start + 50_000])) is not None:
            await waiting
    sink.abort()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("calls", [("write", "sync", "sync_folder"), ("write", "sync", "sync_folder", "truncate")])
async def test_acknowledged_instances_survive_faults_at_any_moment(
    tmp_path: Path, seed: int, calls: tuple[str, ...]
) -> None:
    dice, disk, published = random.Random(seed), FaultyDisk(), RecordingPublish()
    config = SpoolConfig(root=tmp_path, pack_size=400_000, pack_seconds=0.05, sweep_every=0.01, adopt_every=0.01)
    spool = await Spool.open(config, published, disk=disk)
    sent: dict[str, bytes] = {}
    acknowledged: set[str] = set()

    async def modality(number: int) -> None:
        intake = spool.open_association(association(str(number)))
        for index in range(40):
            sop = f"1.9.{number}.{index}"
            pixels = dice.randbytes(dice.choice((0, 99, 30_000, LARGE + 5)))
            sent[sop] = data_set(sop, series=f"1.2.{number}.{dice.randrange(2)}", pixels=pixels)
            action = dice.random()
            if action < 0.1:
                await break_off(intake, sop, sent[sop])
            elif (outcome := await store(intake, sop, sent[sop], piece=100_000)).status is Status.SUCCESS:
                acknowledged.add(sop)
            else:
                assert outcome.status is Status.OUT_OF_RESOURCES
            if action > 0.9:
                await spool.close_association(intake)
                intake = spool.open_association(association(str(number)))
        await spool.close_association(intake)

    async def fate() -> None:
        while True:
            await asyncio.sleep(dice.uniform(0, 0.02))
            disk.faults[dice.choice(calls)] = OSError(errno.EIO, "Input/output error")
            await asyncio.sleep(dice.uniform(0, 0.01))
            disk.faults.clear()

    breaking = asyncio.create_task(fate())
    await asyncio.gather(*(modality(number) for number in range(3)))
    breaking.cancel()
    disk.faults.clear()
    await spool.close(5)
    # What could not be brought to an end in time is for the next process.
    spool = await Spool.open(config, published)
    async with asyncio.timeout(30):
        while any(tmp_path.glob("*/*.part")):
            await asyncio.sleep(0.01)
    await spool.close(5)
    found = {}
    for pack in tmp_path.glob("*/*.tar"):
        found |= contents(pack)
    assert acknowledged
    assert len(acknowledged) < len(sent)
    assert {sop: found.get(sop) for sop in acknowledged} == {sop: sent[sop] for sop in acknowledged}
    assert all(sent[sop] == data for sop, data in found.items())
    if "truncate" not in calls:  # what was refused can be taken back only where truncating works
        assert found.keys() == acknowledged


async def test_a_pack_whose_end_cannot_be_written_is_sealed_later_where_it_is(tmp_path: Path) -> None:
    disk, published = FaultyDisk(), RecordingPublish()
    spool = await Spool.open(SpoolConfig(root=tmp_path, sweep_every=0.01), published, disk=disk)
    intake = spool.open_association(association())
    data = data_set("1.9.1", pixels=bytes(LARGE + 5))
    assert (await store(intake, "1.9.1", data, piece=100_000)).status is Status.SUCCESS
    (part,) = tmp_path.glob("*/*.part")
    disk.faults["write"] = OSError(errno.ENOSPC, "No space left on device")
    await spool.close_association(intake)
    await asyncio.sleep(0.03)
    assert not published.packs
    disk.faults.clear()
    async with asyncio.timeout(20):
        while not published.packs:
            await asyncio.sleep(0.01)
    assert published.packs[0].path == str(part.relative_to(tmp_path)).removesuffix(".part")
    assert contents(tmp_path / published.packs[0].path) == {"1.9.1": data}
    await spool.close(1)


async def test_a_pack_of_whole_instances_ends_where_it_was_synced_and_is_sealed_on_a_full_disk(tmp_path: Path) -> None:
    disk, published = FaultyDisk(), RecordingPublish()
    spool = await Spool.open(SpoolConfig(root=tmp_path), published, disk=disk)
    intake = spool.open_association(association())
    sent = {sop: data_set(sop, pixels=bytes(700)) for sop in ("1.9.1", "1.9.2")}
    for sop, data in sent.items():
        assert (await store(intake, sop, data)).status is Status.SUCCESS
        (part,) = tmp_path.glob("*/*.part")
        with tarfile.open(part) as archive:
            assert archive.getnames()[-1] == f"{sop}.dcm"
        assert part.read_bytes()[-len(END_OF_ARCHIVE) :] == END_OF_ARCHIVE
    whole = part.read_bytes()
    disk.faults["write"] = disk.faults["sync"] = OSError(errno.ENOSPC, "No space left on device")
    await spool.close_association(intake)
    await spool.close(5)
    (pack,) = published.packs
    assert (tmp_path / pack.path).read_bytes() == whole
    assert (pack.size, contents(tmp_path / pack.path)) == (len(whole), sent)


async def test_an_instance_that_breaks_off_leaves_a_pack_that_ends_behind_the_one_before(tmp_path: Path) -> None:
    published = RecordingPublish()
    spool = await Spool.open(SpoolConfig(root=tmp_path), published)
    intake = spool.open_association(association())
    data = data_set("1.9.1")
    assert (await store(intake, "1.9.1", data)).status is Status.SUCCESS
    await break_off(intake, "1.9.2", data_set("1.9.2", pixels=bytes(3 * LARGE)))
    await spool.close_association(intake)
    await spool.close(5)
    (pack,) = published.packs
    assert (tmp_path / pack.path).stat().st_size == pack.size
    assert contents(tmp_path / pack.path) == {"1.9.1": data}
    with tarfile.open(tmp_path / pack.path) as archive:
        assert archive.getnames() == ["1.9.1.dcm"]


class NamesFail(FaultyDisk):
    """A disk on which the next so many syncs of folders fail, after some that do not."""

    good = 0
    bad = 0

    def sync_folder(self, folder: Path) -> None:
        if self.good:
            self.good -= 1
        elif self.bad:
            self.bad -= 1
            raise OSError(errno.EIO, "Input/output error")
        super().sync_folder(folder)


@pytest.mark.parametrize("call", ["sync", "write"])
@pytest.mark.parametrize("good", range(3))
async def test_a_folder_that_cannot_be_synced_while_a_pack_is_saved_delays_it_only(
    tmp_path: Path, call: str, good: int
) -> None:
    disk, published = NamesFail(), RecordingPublish()
    spool = await Spool.open(SpoolConfig(root=tmp_path, sweep_every=0.01), published, disk=disk)
    intake = spool.open_association(association())
    assert (await store(intake, "1.9.1", data_set("1.9.1"))).status is Status.SUCCESS
    disk.faults[call] = OSError(errno.EIO, "Input/output error")
    await spool.close_association(intake)
    disk.good, disk.bad = good, 1
    disk.faults.clear()
    async with asyncio.timeout(20):
        while not published.packs:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert [contents(tmp_path / pack.path) for pack in published.packs] == [{"1.9.1": data_set("1.9.1")}]
    assert len(list(tmp_path.glob("*/*.tar*"))) == 1
    assert not spool.broken
    await spool.close(1)
