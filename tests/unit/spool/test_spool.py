import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from osteon.dimse.handler import Outcome, PresentationContext, StoreRequest
from osteon.dimse.status import Status
from osteon.errors import Unavailable
from osteon.spool.buffer_pool import LARGE, SMALL
from osteon.spool.spool import Spool, SpoolConfig
from support.spool.instances import (
    CT,
    EXPLICIT,
    FaultyDisk,
    RecordingPublish,
    association,
    contents,
    data_set,
    element,
    store,
)


@asynccontextmanager
async def opened(
    root: Path, published: RecordingPublish, disk: FaultyDisk | None = None, **config: Any
) -> AsyncIterator[Spool]:
    config = {"sweep_every": 0.02, "adopt_every": 0.02, **config}
    spool = await Spool.open(SpoolConfig(root=root, **config), published, disk=disk or FaultyDisk())
    try:
        yield spool
    finally:
        await spool.close(5)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*") if path.name != "lock")


async def test_what_an_association_sends_is_one_pack_a_series_with_the_bytes_as_sent(tmp_path: Path) -> None:
    published = RecordingPublish()
    sent = {f"1.9.{n}": data_set(f"1.9.{n}", series=f"1.2.{n % 2}", pixels=bytes([n]) * n * 999) for n in range(20)}
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        for sop, data in sent.items():
            assert await store(intake, sop, data) == Outcome(Status.SUCCESS)
        await spool.close_association(intake)
        await until(lambda: len(published.packs) == 2)
        assert {pack.series_uid for pack in published.packs} == {"1.2.0", "1.2.1"}
        found: dict[str, bytes] = {}
        for pack in published.packs:
            path = tmp_path / pack.path
            assert (pack.instances, pack.size) == (10, path.stat().st_size)
            assert (pack.study_uid, pack.calling_aet, pack.remote_host) == ("1.2", "SCANNER", "192.0.2.7")
            assert (pack.correlation_id, path.name) == ("a1", f"{pack.pack_id}.tar")
            found |= contents(path)
        assert found == sent


@pytest.mark.parametrize("size", [LARGE - 300, LARGE, LARGE + 1, 3 * LARGE + 77])
async def test_large_instances_are_stored_as_they_came_beside_small_ones(tmp_path: Path, size: int) -> None:
    published = RecordingPublish()
    sent = {
        "1.9.1": data_set("1.9.1"),
        "1.9.2": data_set("1.9.2", pixels=bytes(range(256)) * (size // 256) + b"x" * (size % 256)),
        "1.9.3": data_set("1.9.3", pixels=b"end"),
    }
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        for sop, data in sent.items():
            assert await store(intake, sop, data, piece=60_000) == Outcome(Status.SUCCESS)
        await spool.close_association(intake)
        await until(lambda: published.packs)
        assert contents(tmp_path / published.packs[0].path) == sent


async def test_an_instance_whose_series_comes_late_has_a_pack_of_its_own(tmp_path: Path) -> None:
    published = RecordingPublish()
    before = element(0x0009, 0x0010, b"LO", b"TEST") + element(0x0009, 0x1001, b"UN", b"p" * (2 * LARGE))
    data = data_set("1.9.1", series="1.2.77", before=before)
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        assert await store(intake, "1.9.1", data) == Outcome(Status.SUCCESS)
        await until(lambda: published.packs)
        assert published.packs[0].series_uid == "1.2.77"
        assert contents(tmp_path / published.packs[0].path) == {"1.9.1": data}


@pytest.mark.parametrize("size", [10, 2 * LARGE])
@pytest.mark.parametrize("arrived", [0.3, 0.99])
async def test_an_instance_that_is_broken_off_leaves_nothing(tmp_path: Path, size: int, arrived: float) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        for number in range(3):
            assert (await store(intake, f"1.9.{number}", data_set(f"1.9.{number}"))).status == Status.SUCCESS
            sink = intake.begin(StoreRequest(1, CT, "1.9.99"), PresentationContext(1, CT, EXPLICIT))
            assert not isinstance(sink, Outcome)
            data = memoryview(data_set("1.9.99", pixels=bytes(size)))
            for start in range(0, int(len(data) * arrived), 100_000):
                if (waiting := sink.write(data[start : start + 100_000])) is not None:
                    await waiting
            sink.abort()
        await spool.close_association(intake)
        await until(lambda: published.packs)
        assert sorted(contents(tmp_path / published.packs[0].path)) == ["1.9.0", "1.9.1", "1.9.2"]
        assert len(files(tmp_path)) == 1
        assert spool.buffers.held == 0


@pytest.mark.parametrize("padding", [2, 2 * LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"sop": "1.9.2"}, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "(0008,0018)"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "(0008,0016)"),
        ({"series": ""}, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "(0020,000E)"),
        ({"study": "../.."}, Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "(0020,000D)"),
        ({"before": b"\x09\0\x01\x10UN\0\0\xf0\xff\xff\xf0"}, Status.UNABLE_TO_PROCESS, "00091001"),
    ],
)
async def test_a_data_set_that_is_not_what_was_announced_is_refused_and_not_stored(
    tmp_path: Path, padding: int, change: dict[str, Any], status: Status, word: str
) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        data = data_set(**{"sop": "1.9.1", "pixels": bytes(padding), **change})
        outcome = await store(intake, "1.9.1", data)
        assert outcome.status == status
        assert word in outcome.comment
        assert 0 < len(outcome.comment) <= 64
        await spool.close_association(intake)
        assert files(tmp_path) == []
        assert not published.packs


async def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, RecordingPublish()) as spool:
        outcome = await store(spool.open_association(association()), "1.9.1", b"")
        assert outcome.status == Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS


async def test_a_pack_is_sealed_when_it_is_full(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published, pack_size=1 << 16) as spool:
        intake = spool.open_association(association())
        for number in range(7):
            await store(intake, f"1.9.{number}", data_set(f"1.9.{number}", pixels=bytes(30_000)))
        await until(lambda: len(published.packs) == 2)
        assert [pack.instances for pack in published.packs] == [3, 3]


async def test_a_pack_is_sealed_some_time_after_its_first_instance(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published, pack_seconds=0.05) as spool:
        intake = spool.open_association(association())
        for number in range(2):
            await store(intake, f"1.9.{number}", data_set(f"1.9.{number}"))
            await until(lambda number=number: len(published.packs) == number + 1)


async def test_the_same_instance_again_is_acknowledged_and_kept_once(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        for _ in range(3):
            assert (await store(intake, "1.9.1", data_set("1.9.1"))).status == Status.SUCCESS
        await spool.close_association(intake)
        await until(lambda: published.packs)
        assert [pack.instances for pack in published.packs] == [1]


async def test_other_bytes_under_the_same_uid_go_to_another_pack(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        versions = [data_set("1.9.1", pixels=bytes([n] * 8)) for n in range(3)]
        for data in versions:
            assert (await store(intake, "1.9.1", data)).status == Status.SUCCESS
        await spool.close_association(intake)
        await until(lambda: len(published.packs) == 3)
        found = [contents(tmp_path / pack.path)["1.9.1"] for pack in published.packs]
        assert sorted(found) == sorted(versions)


async def test_many_series_at_once_do_not_keep_many_files_open(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        for number in range(40):
            sop = f"1.9.{number}"
            assert (await store(intake, sop, data_set(sop, series=f"1.3.{number}"))).status == Status.SUCCESS
            assert intake.packs.open_count <= 16
        await spool.close_association(intake)
        await until(lambda: len(published.packs) == 40)


async def test_no_answer_before_the_bytes_are_synced(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with opened(tmp_path, RecordingPublish(), disk) as spool:
        intake = spool.open_association(association())
        for number in range(3):
            before = disk.syncs
            await store(intake, f"1.9.{number}", data_set(f"1.9.{number}"))
            assert disk.syncs == before + 1


class HeldDisk(FaultyDisk):
    """A disk that syncs nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def sync(self, fd: int) -> None:
        assert self.may.wait(30)
        super().sync(fd)


async def test_instances_that_wait_together_share_a_sync(tmp_path: Path) -> None:
    disk = HeldDisk()
    async with opened(tmp_path, RecordingPublish(), disk) as spool:
        intake = spool.open_association(association())
        stores = asyncio.gather(*(store(intake, f"1.9.{n}", data_set(f"1.9.{n}")) for n in range(50)))
        await asyncio.sleep(0)  # each of them comes to where it waits
        disk.may.set()
        assert {outcome.status for outcome in await stores} == {Status.SUCCESS}
        assert disk.syncs <= 2


@pytest.mark.parametrize("call", ["sync", "sync_folder", "write"])
@pytest.mark.parametrize("size", [10, 2 * LARGE], ids=["small", "large"])
async def test_an_instance_that_the_disk_does_not_keep_is_refused_and_those_before_it_are_kept(
    tmp_path: Path, call: str, size: int
) -> None:
    disk, published = FaultyDisk(), RecordingPublish()
    async with opened(tmp_path, published, disk) as spool:
        intake = spool.open_association(association())
        kept = {f"1.9.{n}": data_set(f"1.9.{n}") for n in range(3)}
        if call != "sync_folder":
            for sop, data in kept.items():
                assert (await store(intake, sop, data)).status == Status.SUCCESS
        disk.faults[call] = OSError(errno.ENOSPC, "No space left on device")
        outcome = await store(intake, "1.9.66", data_set("1.9.66", pixels=bytes(size)))
        assert outcome.status == Status.OUT_OF_RESOURCES
        assert "No space left" in outcome.comment
        disk.faults.clear()
        if call == "sync_folder":
            for sop, data in kept.items():
                assert (await store(intake, sop, data)).status == Status.SUCCESS
        kept["1.9.67"] = data_set("1.9.67", pixels=bytes(size))
        assert (await store(intake, "1.9.67", kept["1.9.67"])).status == Status.SUCCESS
        await spool.close_association(intake)
        await until(lambda: sum(pack.instances for pack in published.packs) == len(kept))
        found: dict[str, bytes] = {}
        for pack in published.packs:
            found |= contents(tmp_path / pack.path)
        assert found == kept
        await until(lambda: all(path.name.endswith(".tar") for path in files(tmp_path)))


async def test_a_file_whose_sync_failed_is_never_written_again(tmp_path: Path) -> None:
    disk, published = FaultyDisk(), RecordingPublish()
    async with opened(tmp_path, published, disk) as spool:
        intake = spool.open_association(association())
        await store(intake, "1.9.1", data_set("1.9.1"))
        (before,) = files(tmp_path)
        disk.faults["sync"] = OSError(errno.EIO, "Input/output error")
        assert (await store(intake, "1.9.2", data_set("1.9.2"))).status == Status.OUT_OF_RESOURCES
        disk.faults.clear()
        await until(lambda: published.packs)
        assert not before.exists()
        assert published.packs[0].pack_id != before.name.partition(".")[0]
        assert sorted(contents(tmp_path / published.packs[0].path)) == ["1.9.1"]


async def test_a_full_disk_refuses_before_the_data_set_is_read(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.space = (10, 90)
    async with opened(tmp_path, RecordingPublish(), disk, high_water=0.9) as spool:
        outcome = spool.open_association(association()).begin(
            StoreRequest(1, CT, "1.9.1"), PresentationContext(1, CT, EXPLICIT)
        )
        assert isinstance(outcome, Outcome)
        assert outcome.status == Status.OUT_OF_RESOURCES
        assert "OSTEON_SPOOL_HIGH_WATER" in outcome.comment


async def test_the_quota_refuses_until_packs_are_taken(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published, quota=100_000) as spool:
        intake = spool.open_association(association())
        statuses = [
            (await store(intake, f"1.9.{n}", data_set(f"1.9.{n}", pixels=bytes(30_000)))).status for n in range(5)
        ]
        assert statuses[:2] == [Status.SUCCESS] * 2  # while the spool is measured, what comes in counts twice
        assert statuses[-1] == Status.OUT_OF_RESOURCES
        await spool.close_association(intake)
        await until(lambda: published.packs)
        (tmp_path / published.packs[0].path).unlink()

        async def accepted() -> bool:
            return (await store(intake, "1.9.7", data_set("1.9.7"))).status == Status.SUCCESS

        async with asyncio.timeout(10):
            while not await accepted():
                await asyncio.sleep(0.01)


async def test_packs_wait_for_the_broker_and_go_oldest_first(tmp_path: Path) -> None:
    published = RecordingPublish()
    down = True

    async def broker(_: object) -> None:
        if down:
            raise Unavailable("no broker")

    published.then = broker
    async with opened(tmp_path, published) as spool:
        for number in range(3):
            intake = spool.open_association(association())
            assert (await store(intake, f"1.9.{number}", data_set(f"1.9.{number}"))).status == Status.SUCCESS
            await spool.close_association(intake)
        assert not published.packs
        down = False
        await until(lambda: len(published.packs) == 3)
        assert published.packs == sorted(published.packs, key=lambda pack: (pack.received_at, pack.pack_id))


async def test_a_pack_that_is_not_taken_is_published_again_until_its_file_is_gone(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published, republish_after=0.05) as spool:
        intake = spool.open_association(association())
        await store(intake, "1.9.1", data_set("1.9.1"))
        await spool.close_association(intake)
        await until(lambda: len(published.packs) >= 3)
        (tmp_path / published.packs[0].path).unlink()
        await until(lambda: not spool.outbox.paths())


async def test_packs_are_not_taken_for_gone_while_their_folder_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = RecordingPublish()

    def refused(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    async with opened(tmp_path, published, republish_after=0.0, sweep_every=60.0) as spool:
        intake = spool.open_association(association())
        await store(intake, "1.9.1", data_set("1.9.1"))
        await spool.close_association(intake)
        await until(lambda: published.packs)
        with monkeypatch.context() as patch, pytest.raises(PermissionError):
            patch.setattr(os, "scandir", refused)
            patch.setattr(os, "listdir", refused)
            await spool.measure()
        await spool.measure()
        await until(lambda: len(published.packs) > 1)


async def test_an_answer_can_wait_until_the_instance_is_indexed(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published, wait_for_index=30.0) as spool:
        intake = spool.open_association(association())
        answer = asyncio.create_task(store(intake, "1.9.1", data_set("1.9.1")))
        await until(lambda: published.packs)
        await asyncio.sleep(0.02)
        assert not answer.done()
        spool.pack_indexed("something else")
        spool.pack_indexed(published.packs[0].pack_id)
        assert (await answer).status == Status.SUCCESS


async def test_an_instance_that_is_not_indexed_in_time_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, RecordingPublish(), wait_for_index=0.05) as spool:
        outcome = await store(spool.open_association(association()), "1.9.1", data_set("1.9.1"))
        assert outcome.status == Status.OUT_OF_RESOURCES
        assert "not indexed" in outcome.comment


async def test_a_closed_spool_leaves_no_folder_when_everything_was_taken(tmp_path: Path) -> None:
    published = RecordingPublish()
    async with opened(tmp_path, published) as spool:
        intake = spool.open_association(association())
        await store(intake, "1.9.1", data_set("1.9.1"))
        await spool.close_association(intake)
        await until(lambda: published.packs)
        (tmp_path / published.packs[0].path).unlink()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("size", [10, SMALL - 1, SMALL + 1, LARGE // 2])
@pytest.mark.parametrize("piece", [1000, 16 << 10, 128 << 10])
async def test_buffers_are_as_large_as_what_comes_and_are_used_again(tmp_path: Path, size: int, piece: int) -> None:
    async with opened(tmp_path, RecordingPublish()) as spool:
        intake = spool.open_association(association())
        data = {sop: data_set(sop, pixels=bytes(range(256)) * (size // 256 + 1)) for sop in ("1.9.1", "1.9.2")}
        for sop, content in data.items():
            assert (await store(intake, sop, content, piece=piece)).status == Status.SUCCESS
        lengths = {length: len(free) for length, free in spool.buffers._free.items()}
        largest = LARGE if len(data["1.9.1"]) > SMALL else SMALL
        grown = largest == LARGE and piece <= SMALL
        assert lengths == {SMALL: int(grown or largest == SMALL), LARGE: int(largest == LARGE)}
        (part,) = tmp_path.glob("*/*.part")
        assert contents(part) == data


async def test_little_is_gathered_in_memory_when_much_is_held(tmp_path: Path) -> None:
    async with opened(tmp_path, RecordingPublish(), memory=100_000) as spool:
        intake = spool.open_association(association())
        buffers = spool.buffers
        assert buffers.threshold == LARGE
        buffers.charge(100_001)
        assert buffers.threshold == SMALL
        data = data_set("1.9.1", pixels=bytes(500_000))
        assert (await store(intake, "1.9.1", data)).status == Status.SUCCESS
        assert buffers.held == 100_001
