"""The local folder of packs: what it fetches, how often it asks the store, and that it never gives wrong bytes."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from osteon import metrics
from osteon.objects.folder import FolderObjects
from osteon.objects.pack_cache import BLOCK, LARGE_READ, SHARE, PackCache
from osteon.objects.port import Bytes, ObjectNotFound, ObjectsUnavailable
from support.metric_values import value

KIB = 1 << 10
MIB = 1 << 20
PACK = "1.2/1.2.3/p1.tar"


class CountingStore(FolderObjects):
    """Notes each read; its streams wait for `gate`, and fail while it is `down`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.reads.append(f"range {key}")
        return await super().get_range(key, offset, length)

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[memoryview]:
        self.reads.append(f"stream {key}")
        async for chunk in super().stream(key, offset, length):
            await self.gate.wait()
            if self.down:
                raise ObjectsUnavailable("the store is down")
            yield chunk


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


@asynccontextmanager
async def cache(store: CountingStore, limit: int = 64 * MIB, *, prefetch: bool = False) -> AsyncIterator[PackCache]:
    folder = store._folder.root.parent / "cache"
    folder.mkdir(exist_ok=True)
    cached = PackCache(store, folder, limit, prefetch=prefetch)
    yield cached
    await cached.close()


async def put(store: CountingStore, key: str = PACK, length: int = 3 * MIB + 17) -> bytes:
    data = random.Random(key).randbytes(length)
    await store.put(key, data)
    return data


async def joined(chunks: AsyncIterator[Bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


async def fetched(cached: PackCache) -> None:
    await until(lambda: not cached._tasks)


async def test_a_pack_that_is_read_twice_is_fetched_once_and_then_the_store_is_not_asked(store: CountingStore) -> None:
    data = await put(store)
    async with cache(store) as cached:
        assert await cached.get_range(PACK, 100, 50) == data[100:150]
        assert store.reads == [f"range {PACK}"]
        assert await cached.get_range(PACK, 2 * MIB, 50) == data[2 * MIB :][:50]
        await fetched(cached)
        for start, length in ((0, len(data)), (BLOCK - 1, 2), (7, 3 * BLOCK), (len(data) - 1, 1)):
            assert await cached.get_range(PACK, start, length) == data[start : start + length]
            assert await joined(cached.stream(PACK, start, length)) == data[start : start + length]
        assert store.reads == [f"range {PACK}", f"stream {PACK}"]


async def test_a_single_long_read_is_enough_and_requests_that_come_together_share_it(store: CountingStore) -> None:
    data = await put(store, length=LARGE_READ + 5)
    async with cache(store) as cached:
        both = await asyncio.gather(*(joined(cached.stream(PACK, 0, len(data))) for _ in range(3)))
        assert both == [data] * 3
        assert store.reads == [f"stream {PACK}"]


async def test_what_has_come_is_read_while_the_rest_is_on_its_way(store: CountingStore) -> None:
    data = await put(store, length=12 * MIB)
    async with cache(store) as cached:
        first = cached.stream(PACK, 0, len(data))
        pieces = [bytes(await anext(first))]
        store.gate.clear()
        await asyncio.sleep(0)
        far = await asyncio.wait_for(cached.get_range(PACK, 11 * MIB, 10), 10)
        assert far == data[11 * MIB :][:10], "what is far away is read from the store meanwhile"
        store.gate.set()
        pieces += [bytes(piece) async for piece in first]
        assert b"".join(pieces) == data


@pytest.mark.parametrize("harm", ["byte", "cut", "deleted"])
async def test_a_file_that_was_damaged_or_deleted_is_read_from_the_store_and_fetched_again(
    store: CountingStore, harm: str
) -> None:
    data = await put(store)
    async with cache(store) as cached:
        await joined(cached.stream(PACK, 0, 10))
        await joined(cached.stream(PACK, 0, 10))
        await fetched(cached)
        (path,) = (store._folder.root.parent / "cache").iterdir()
        if harm == "byte":
            with path.open("r+b") as file:
                file.seek(MIB + 3)
                file.write(bytes([data[MIB + 3] ^ 1]))
        elif harm == "cut":
            with path.open("r+b") as file:
                file.truncate(2 * MIB)
        else:
            path.unlink()
        damaged = value(metrics.PACK_CACHE_DAMAGED)
        for _ in range(3):
            assert await joined(cached.stream(PACK, 0, len(data))) == data
            await fetched(cached)
        assert await cached.get_range(PACK, MIB, BLOCK) == data[MIB : MIB + BLOCK]
        assert store.reads.count(f"stream {PACK}") == 4, "once directly, once into the cache, and the same again"
        assert value(metrics.PACK_CACHE_DAMAGED) - damaged == (harm != "deleted")


async def test_the_folder_stays_within_its_bytes_and_what_was_read_last_stays(store: CountingStore) -> None:
    names = [f"1.2/1.2.3/p{number}.tar" for number in range(8)]
    data = {name: await put(store, name, 1 * MIB) for name in names}
    limit = SHARE * MIB
    async with cache(store, limit) as cached:
        for name in names:
            for _ in range(2):
                assert await cached.get_range(name, 0, 10) == data[name][:10]
            await fetched(cached)
            assert sum(path.stat().st_size for path in (store._folder.root.parent / "cache").iterdir()) <= limit
            assert await cached.get_range(names[0], 5, 5) == data[names[0]][5:10]
        assert store.reads.count(f"stream {names[0]}") == 1
        assert value(metrics.PACK_CACHE_BYTES) == limit
        asked = len(store.reads)
        await cached.get_range(names[1], 0, 10)
        assert len(store.reads) == asked + 1


async def test_a_pack_too_long_for_the_cache_is_asked_for_once(store: CountingStore) -> None:
    data = await put(store, length=2 * MIB)
    async with cache(store, SHARE * MIB) as cached:
        for _ in range(6):
            assert await joined(cached.stream(PACK, 0, len(data))) == data
            await fetched(cached)
        assert store.reads == [f"stream {PACK}"] * 6
        assert not list((store._folder.root.parent / "cache").iterdir())


async def test_a_store_that_fails_while_a_pack_comes_fails_the_read_and_serves_the_next(store: CountingStore) -> None:
    data = await put(store)
    async with cache(store) as cached:
        await cached.get_range(PACK, 0, 1)
        store.down = True
        with pytest.raises(ObjectsUnavailable):
            await joined(cached.stream(PACK, 0, len(data)))
        store.down = False
        for _ in range(3):
            assert await joined(cached.stream(PACK, 0, len(data))) == data
            await fetched(cached)
        assert len(list((store._folder.root.parent / "cache").iterdir())) == 1


async def test_a_folder_that_cannot_be_written_costs_nothing_but_the_cache(store: CountingStore) -> None:
    data = await put(store)
    async with cache(store) as cached:
        (store._folder.root.parent / "cache").rmdir()
        for _ in range(4):
            assert await joined(cached.stream(PACK, 0, len(data))) == data


async def test_the_other_packs_of_an_opened_study_follow_those_of_its_series_first(store: CountingStore) -> None:
    keys = ["1.2/1.2.1/a.tar", "1.2/1.2.3/p2.tar", "1.2.9/1.2.3/z.tar", "1.2/1.2.4/b.tar"]
    data = {key: await put(store, key, 100 * KIB) for key in keys}
    await put(store)
    await store.put("1.2/1.2.3/p2.meta", b"a sidecar")
    async with cache(store, prefetch=True) as cached:
        for _ in range(2):
            await cached.get_range(PACK, 0, 10)
        await fetched(cached)
        order = [f"range {PACK}", *(f"stream {key}" for key in (PACK, keys[1], keys[0], keys[3]))]
        assert store.reads == order
        assert await cached.get_range(keys[3], 0, 10) == data[keys[3]][:10]
        assert store.reads == order


async def test_what_is_fetched_ahead_takes_no_more_than_its_share(store: CountingStore) -> None:
    for number in range(10):
        await put(store, f"1.2/1.2.3/q{number}.tar", MIB)
    await put(store, length=MIB)
    async with cache(store, 2 * SHARE * MIB, prefetch=True) as cached:
        for _ in range(2):
            await cached.get_range(PACK, 0, 10)
        await fetched(cached)
    assert len([read for read in store.reads if read.startswith("stream")]) == 2


async def test_a_deleted_object_is_gone_from_the_cache_too(store: CountingStore) -> None:
    await put(store)
    async with cache(store) as cached:
        for _ in range(2):
            await cached.get_range(PACK, 0, 10)
        await fetched(cached)
        await cached.delete(PACK)
        with pytest.raises(ObjectNotFound):
            await cached.get_range(PACK, 0, 10)


async def test_what_is_no_pack_goes_to_the_store(store: CountingStore) -> None:
    await store.put("cache/one.dcm", b"x" * (LARGE_READ + 1))
    async with cache(store) as cached:
        reads: list[Callable[[], Awaitable[bytes]]] = [
            lambda: cached.get_range("cache/one.dcm", 0, LARGE_READ),
            lambda: joined(cached.stream("cache/one.dcm", 0, LARGE_READ)),
        ]
        for read in reads * 2:
            assert await read() == b"x" * LARGE_READ
        assert len(store.reads) == 4
