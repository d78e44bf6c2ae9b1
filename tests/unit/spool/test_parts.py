"""The parts of a spool on their own: committer, outbox, admission."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon.errors import Unavailable
from osteon.spool.admission import Admission, usage
from osteon.spool.errors import SpoolFull
from osteon.spool.group_commit import GroupCommitter
from osteon.spool.outbox import Outbox
from osteon.spool.sealed_pack import SealedPack
from support.spool.instances import FaultyDisk

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class CountingTarget:
    """Counts commits; `hold` keeps the first batch in the thread until it is set."""

    def __init__(self) -> None:
        self.commits = 0
        self.error: Exception | None = None
        self.hold = threading.Event()
        self.hold.set()

    def commit(self) -> None:
        self.hold.wait(10)
        self.commits += 1
        if self.error is not None:
            raise self.error


def pack(number: int) -> SealedPack:
    received = NOON + timedelta(seconds=number)
    return SealedPack(f"p{number}", f"f/p{number}.tar", "1.2", "1.3", "SCANNER", "", received, 1, 512, "a1")


async def test_work_that_came_meanwhile_shares_one_commit_and_keeps_its_order() -> None:
    committer, target, done = GroupCommitter(3), CountingTarget(), list[int]()
    queue = committer.queue(target, lambda: None)
    target.hold.clear()
    first = queue.submit(lambda: done.append(0))
    while not done:
        await asyncio.sleep(0.001)
    rest = [queue.submit(lambda n=n: done.append(n)) for n in range(1, 50)]  # type: ignore[misc]
    target.hold.set()
    await asyncio.gather(first, *rest)
    assert done == list(range(50))
    assert target.commits == 2
    await asyncio.to_thread(committer.close)


async def test_when_a_commit_fails_no_success_is_reported() -> None:
    committer, target = GroupCommitter(1), CountingTarget()
    queue = committer.queue(target, lambda: None)
    target.error = OSError("no disk")
    results = await asyncio.gather(queue.submit(lambda: 1), queue.submit(lambda: 2), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    target.error = None
    assert await queue.submit(lambda: 3) == 3
    await asyncio.to_thread(committer.close)


async def test_work_that_fails_does_not_disturb_its_neighbours() -> None:
    committer = GroupCommitter(1)
    queue = committer.queue(CountingTarget(), lambda: None)
    results = await asyncio.gather(queue.submit(lambda: 1), queue.submit(lambda: 1 // 0), return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], ZeroDivisionError)
    await asyncio.to_thread(committer.close)


async def test_a_slow_association_does_not_hold_up_another() -> None:
    committer, slow, quick = GroupCommitter(2), CountingTarget(), CountingTarget()
    slow.hold.clear()
    waiting = committer.queue(slow, lambda: None).submit(lambda: None)
    await committer.queue(quick, lambda: None).submit(lambda: None)
    assert not waiting.done()
    slow.hold.set()
    await waiting
    await asyncio.to_thread(committer.close)


async def test_the_oldest_pack_is_published_first_and_a_bad_one_does_not_block_the_others() -> None:
    published: list[str] = []

    async def publish(sealed: SealedPack) -> None:
        if sealed.pack_id == "p0" and "p2" not in published:
            raise ValueError("this message cannot be made")
        published.append(sealed.pack_id)

    outbox = Outbox(publish)
    for number in (2, 0, 1):
        outbox.add(pack(number))
    task = asyncio.create_task(outbox.run())
    assert await outbox.flush(10)
    assert published == ["p1", "p2", "p0"]
    task.cancel()


async def test_a_broker_that_is_down_gets_one_pack_only_and_flushing_ends_in_time() -> None:
    attempted: list[str] = []

    async def publish(sealed: SealedPack) -> None:
        attempted.append(sealed.pack_id)
        raise Unavailable("no broker")

    outbox = Outbox(publish)
    outbox.add(pack(1))
    outbox.add(pack(2))
    task = asyncio.create_task(outbox.run())
    assert not await outbox.flush(0.05)
    assert set(attempted) == {"p1"}
    task.cancel()


async def test_a_pack_that_was_taken_before_its_turn_is_not_published() -> None:
    published: list[str] = []

    async def publish(sealed: SealedPack) -> None:
        published.append(sealed.pack_id)
        outbox.remove([pack(2).path])

    outbox = Outbox(publish)
    outbox.add(pack(1))
    outbox.add(pack(2))
    task = asyncio.create_task(outbox.run())
    assert await outbox.flush(10)
    assert published == ["p1"]
    task.cancel()


def test_room_is_judged_as_df_does_by_what_is_free_for_this_process(tmp_path: Path) -> None:
    disk = FaultyDisk()
    admission = Admission(tmp_path, disk, high_water=0.5, quota=0)
    disk.space = (51, 49)
    admission.check()
    disk.space = (50, 50)
    Admission(tmp_path, disk, high_water=0.6, quota=0).check()
    with pytest.raises(SpoolFull, match="50% full"):
        Admission(tmp_path, disk, high_water=0.5, quota=0).check()


def test_the_quota_counts_what_was_measured_and_what_came_since(tmp_path: Path) -> None:
    admission = Admission(tmp_path, FaultyDisk(), high_water=1.0, quota=100)
    admission.add(60)
    unmeasured = admission.unmeasured
    admission.add(30)
    admission.set_used(69, unmeasured)
    admission.check()
    admission.add(1)
    with pytest.raises(SpoolFull, match="OSTEON_SPOOL_QUOTA_BYTES"):
        admission.check()


def test_usage_counts_the_folders_of_all_processes(tmp_path: Path) -> None:
    for name, size in (("a", 10), ("b", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.tar").write_bytes(bytes(size))
    assert usage(tmp_path) == 17
