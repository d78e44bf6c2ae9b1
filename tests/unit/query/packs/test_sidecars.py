"""The cache of sidecars."""

import asyncio

import pytest

from osteon.objects.port import ObjectNotFound, ObjectsUnavailable
from osteon.packs.sidecar import BadSidecar
from osteon_query.packs.sidecars import HeaderNotFound, Sidecars
from support.query.scripted_index import CountingObjects, location, sidecar

KEY = location().key


def _headers(count: int, size: int = 10) -> list[dict]:
    return [{"00081030": {"vr": "LO", "Value": [f"{n} " + "x" * size]}} for n in range(count)]


def _store(count: int, size: int = 10) -> CountingObjects:
    return CountingObjects({KEY: sidecar(_headers(count, size))})


async def test_a_header_is_that_of_the_instance_at_the_location():
    sidecars = Sidecars(_store(3), memory=1 << 20)
    assert (await sidecars.header(location(2)))["00081030"]["Value"] == ["2 xxxxxxxxxx"]


async def test_a_sidecar_is_read_once_for_all_its_instances():
    objects = _store(3)
    sidecars = Sidecars(objects, memory=1 << 20)
    for number in (0, 1, 2, 0):
        await sidecars.raw(location(number))
    assert objects.reads == [KEY]


async def test_requests_at_the_same_time_share_one_read():
    objects = _store(5)
    sidecars = Sidecars(objects, memory=1 << 20)
    await asyncio.gather(*(sidecars.raw(location(n)) for n in range(5)))
    assert objects.reads == [KEY]


async def test_a_request_that_is_cancelled_does_not_take_the_others_with_it():
    gate = asyncio.Event()

    class Slow(CountingObjects):
        async def get(self, key: str, offset: int = 0) -> bytes:
            await gate.wait()
            return await super().get(key, offset)

    sidecars = Sidecars(Slow({KEY: sidecar(_headers(2))}), memory=1 << 20)
    first, second = (asyncio.create_task(sidecars.raw(location(n))) for n in range(2))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert b'"1 xx' in await second


async def test_a_read_that_failed_is_tried_again_by_the_next_request():
    objects = _store(1)
    objects.error = ObjectsUnavailable("down")
    sidecars = Sidecars(objects, memory=1 << 20)
    with pytest.raises(ObjectsUnavailable):
        await sidecars.raw(location())
    objects.error = None
    assert await sidecars.raw(location())


async def test_the_cache_drops_what_was_not_used_longest_and_stays_within_its_bound():
    packs = {f"p{n}": sidecar(_headers(4, 2_000), pack=f"p{n}") for n in range(10)}
    objects = CountingObjects({location(pack=pack).key: data for pack, data in packs.items()})
    sidecars = Sidecars(objects, memory=60_000)
    for pack in packs:
        await sidecars.raw(location(pack=pack))
        assert 0 < sidecars.cost <= 60_000
    await sidecars.raw(location(pack="p9"))
    await sidecars.raw(location(pack="p0"))
    assert objects.reads.count(location(pack="p9").key) == 1
    assert objects.reads.count(location(pack="p0").key) == 2


async def test_a_sidecar_too_large_for_the_cache_is_read_through_and_not_kept():
    sidecars = Sidecars(_store(200, 2_000), memory=100_000)
    assert b'"150 xx' in await sidecars.raw(location(150))
    assert sidecars.cost == 0
    assert [line.offset async for line in sidecars.lines(location().sidecar)] == [
        location(n).offset for n in range(200)
    ]


async def test_the_lines_of_many_instances_of_a_large_sidecar_come_from_one_read():
    objects = _store(200, 2_000)
    sidecars = Sidecars(objects, memory=100_000)
    await sidecars.raw(location(0))
    objects.reads.clear()
    lines = await sidecars.lines_of([location(n) for n in (199, 3, 3, 50)])
    assert [line.offset for line in lines] == [location(n).offset for n in (199, 3, 3, 50)]
    assert objects.reads == [KEY]


@pytest.mark.parametrize("memory", [1 << 20, 100])
async def test_all_lines_come_in_the_order_of_the_pack(memory):
    sidecars = Sidecars(_store(5), memory=memory)
    assert [line.offset async for line in sidecars.lines(location().sidecar)] == [location(n).offset for n in range(5)]


@pytest.mark.parametrize("memory", [1 << 20, 100])
async def test_an_instance_that_the_sidecar_lacks_is_not_found(memory):
    with pytest.raises(HeaderNotFound):
        await Sidecars(_store(2), memory=memory).raw(location(7))


async def test_a_sidecar_that_is_missing_or_broken_says_so():
    with pytest.raises(ObjectNotFound):
        await Sidecars(CountingObjects(), memory=1 << 20).raw(location())
    with pytest.raises(BadSidecar):
        await Sidecars(CountingObjects({KEY: b"garbage"}), memory=1 << 20).raw(location())
