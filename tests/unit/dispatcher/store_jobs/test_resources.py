"""Which instances the resources of a job are, and where another worker goes on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon.archive.errors import ResourceNotFound
from osteon.archive.resources import InstanceScope
from osteon_dispatcher.store_jobs.resources import InstancePosition, iter_instances
from support.dispatcher.store_jobs import StoreJobsArchive, sending_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreJobsArchive]:
    async with sending_world(tmp_path) as made:
        yield made


async def listed(
    world: StoreJobsArchive, *resources: str, after: InstancePosition | None = None
) -> list[tuple[str, InstancePosition]]:
    found = iter_instances(world.room.index, resources, after)
    return [(each.instance.sop_instance_uid, each.position) async for each in found]


async def single(world: StoreJobsArchive, uid: str) -> str:
    (location,) = [each async for each in world.room.index.locate(InstanceScope(sop_uids=(uid,)))]
    return location.public_id


async def test_it_goes_on_behind_any_position(world, monkeypatch):
    monkeypatch.setattr("osteon_dispatcher.store_jobs.resources._LOOKUP", 2)
    study, uids = await world.stored(3)
    other, more = await world.stored(2)
    resources = (await single(world, uids[1]), study, await single(world, more[0]), other, study)
    everything = await listed(world, *resources)
    assert [uid for uid, _ in everything] == [uids[1], *uids, more[0], *more, *uids]
    for number, (_, position) in enumerate(everything):
        assert await listed(world, *resources, after=position) == everything[number + 1 :]


async def test_a_position_that_is_no_more_means_its_whole_resource_again(world):
    study, uids = await world.stored(2)
    other, more = await world.stored(1)
    again = await listed(world, other, study, other, after=InstancePosition(1, "elsewhere.tar", 0))
    assert [uid for uid, _ in again] == [*uids, *more]


async def test_a_resource_that_is_not_there_is_named(world):
    study, _ = await world.stored(1)
    with pytest.raises(ResourceNotFound):
        await listed(world, study, "0" * 8 + "-" + "-".join(["0" * 8] * 4))
