"""The gauges of a spool say how full it is and how long what is in it has been waiting."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from osteon import metrics
from osteon.errors import Unavailable
from osteon.spool.admission import Admission
from osteon.spool.outbox import Outbox
from osteon.spool.sealed_pack import SealedPack
from osteon.spool.spool import Spool, SpoolConfig
from support.metric_values import value as metric_value
from support.spool.instances import FaultyDisk, RecordingPublish, association, data_set, store


def value(metric: object, **labels: str) -> float:
    return metric_value(metric.labels(**labels) if labels else metric)


def admission(root: Path, disk: FaultyDisk, *, quota: int = 0) -> Admission:
    return Admission(root, disk, high_water=0.8, quota=quota)


@pytest.mark.parametrize(
    ("free", "used", "ratio", "left"), [(600, 400, 0.5, 400), (200, 800, 1.0, 0), (100, 900, 1.125, 0)]
)
def test_a_spool_is_full_at_one_where_instances_are_refused(
    tmp_path: Path, free: int, used: int, ratio: float, left: int
) -> None:
    disk = FaultyDisk()
    disk.space = (free, used)
    admission(tmp_path, disk).set_gauges()
    assert value(metrics.SPOOL_FILL_RATIO) == pytest.approx(ratio)
    assert value(metrics.SPOOL_FREE_BYTES) == left


def test_the_quota_counts_where_it_is_reached_first(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.space = (600, 400)
    spool = admission(tmp_path, disk, quota=100)
    spool.set_used(used=60, measured=0)
    spool.add(30)
    spool.set_gauges()
    assert (value(metrics.SPOOL_FILL_RATIO), value(metrics.SPOOL_FREE_BYTES)) == (0.9, 10)


def test_a_disk_that_tells_nothing_counts_as_full_because_nothing_comes_in(tmp_path: Path) -> None:
    class Gone(FaultyDisk):
        def free(self, folder: Path) -> tuple[int, int]:
            raise OSError(5, "gone")

    admission(tmp_path, Gone()).set_gauges()
    assert (value(metrics.SPOOL_FILL_RATIO), value(metrics.SPOOL_FREE_BYTES)) == (1, 0)


async def test_the_oldest_pack_is_measured_by_what_it_waits_for() -> None:
    waits = asyncio.Event()

    async def publish(pack: SealedPack) -> None:
        if pack.pack_id == "stuck":
            waits.set()
            raise Unavailable("no broker")

    outbox = Outbox(publish)
    now = datetime.now(UTC)
    for name, minutes in (("taken", 20), ("stuck", 10)):
        outbox.add(SealedPack(name, name, "1", "2", "CT", "h", now - timedelta(minutes=minutes), 1, 100, "c"))
    running = asyncio.create_task(outbox.run())
    await waits.wait()
    running.cancel()
    assert outbox.set_gauges() == 200
    assert value(metrics.SPOOL_PACKS, state="published") == value(metrics.SPOOL_PACKS, state="sealed") == 1
    assert 1200 <= value(metrics.SPOOL_OLDEST_PACK_AGE_SECONDS, state="published") < 1300
    assert 600 <= value(metrics.SPOOL_OLDEST_PACK_AGE_SECONDS, state="sealed") < 700
    outbox.remove(["taken", "stuck"])
    outbox.set_gauges()
    assert (
        value(metrics.SPOOL_OLDEST_PACK_AGE_SECONDS, state="published")
        == value(metrics.SPOOL_OLDEST_PACK_AGE_SECONDS, state="sealed")
        == 0
    )


async def test_an_open_pack_is_counted_until_it_is_sealed(tmp_path: Path) -> None:
    spool = await Spool.open(SpoolConfig(root=tmp_path, pack_seconds=3600), RecordingPublish())
    try:
        intake = spool.open_association(association())
        await store(intake, "1.2.3.1", data_set("1.2.3.1"))
        await spool.measure()
        assert value(metrics.SPOOL_PACKS, state="open") == 1
        assert intake.packs.open_since is not None
        assert value(metrics.SPOOL_BYTES) > 0
        await spool.close_association(intake)
        await spool.measure()
        assert (
            value(metrics.SPOOL_PACKS, state="open") == value(metrics.SPOOL_OLDEST_PACK_AGE_SECONDS, state="open") == 0
        )
    finally:
        await spool.close(1)
