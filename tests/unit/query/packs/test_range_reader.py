"""Reading members of packs, and streaming."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
import xxhash

from osteon.objects.port import ObjectNotFound
from osteon_query.http.errors import StoredDataUnreadable
from osteon_query.http.streaming import read_ahead
from osteon_query.packs.items import ItemStart, ItemStream
from osteon_query.packs.range_reader import StoredRange, read_range, read_ranges


class Store:
    """Objects in memory that note what was read and whether each stream was closed."""

    def __init__(self, *, remote: bool = True, **objects: bytes) -> None:
        self.remote = remote
        self.objects = objects
        self.reads: list[tuple[str, int, int]] = []
        self.open = 0
        self.chunks = 0

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        if key not in self.objects:
            raise ObjectNotFound(key)
        assert length is not None
        self.reads.append((key, offset, length))
        self.open += 1
        try:
            data = self.objects[key][offset : offset + length]
            for start in range(0, len(data), 1000):
                self.chunks += 1
                yield data[start : start + 1000]
        finally:
            self.open -= 1


def at(key: str, offset: int, length: int) -> StoredRange:
    """Return where an instance lies."""
    return StoredRange(key, offset, length, ItemStart(length=length))


def checked(key: str, offset: int, content: bytes) -> StoredRange:
    """Return where an instance lies that was stored with this content."""
    start = ItemStart(length=len(content))
    return StoredRange(key, offset, len(content), start, xxhash.xxh3_128(content).digest())


async def each(*ranges: StoredRange) -> AsyncIterator[StoredRange]:
    """Iterate over ranges."""
    for one in ranges:
        yield one


def items_of(store: Store, *ranges: StoredRange) -> ItemStream:
    """Read instances out of what is, of the object store, only its reading."""
    return read_ranges(store, each(*ranges))  # type: ignore[arg-type]


async def read(store: Store, *ranges: StoredRange) -> list[bytes]:
    """Return the bytes of each instance."""
    found: list[bytes] = []
    async for item in items_of(store, *ranges):
        if isinstance(item, ItemStart):
            found.append(b"")
        else:
            found[-1] += bytes(item)
    return found


DATA = bytes(n % 251 for n in range(200_000))


@pytest.mark.parametrize("remote", [True, False])
async def test_neighbours_in_a_pack_are_read_in_one_request(remote: bool) -> None:
    store = Store(a=DATA, remote=remote)
    spans = [(512, 1500), (2560, 10), (3072, 7000)]
    assert await read(store, *(at("a", *span) for span in spans)) == [DATA[o : o + n] for o, n in spans]
    assert store.reads == [("a", 512, 3072 + 7000 - 512)]


async def test_members_far_apart_and_in_other_packs_are_read_by_themselves() -> None:
    store = Store(a=DATA, b=DATA)
    wanted = [at("a", 512, 100), at("a", 150_000, 100), at("b", 512, 100), at("b", 0, 100)]
    assert await read(store, *wanted) == [DATA[w.offset : w.offset + 100] for w in wanted]
    assert len(store.reads) == 4


@pytest.mark.parametrize("key", ["short", "absent"])
async def test_a_pack_that_is_short_or_absent_raises(key: str) -> None:
    with pytest.raises(StoredDataUnreadable, match=key):
        await read(Store(short=DATA[:600]), at(key, 512, 1000))


@pytest.mark.parametrize("remote", [True, False])
async def test_a_reader_that_goes_away_closes_the_stream_of_the_store(remote: bool) -> None:
    store = Store(a=DATA, remote=remote)
    items = items_of(store, at("a", 0, 100_000))
    await anext(items)
    await anext(items)
    await items.aclose()
    assert store.open == 0


@pytest.mark.parametrize(("remote", "chunks"), [(True, 5), (False, 1)])
async def test_what_is_not_in_files_is_read_ahead(remote: bool, chunks: int) -> None:
    store = Store(a=DATA, remote=remote)
    items = items_of(store, at("a", 0, 100_000))
    await anext(items)
    for _ in range(20):
        await asyncio.sleep(0)
    assert store.chunks == chunks
    await items.aclose()


async def test_reading_ahead_stops_at_its_depth_and_passes_errors_on() -> None:
    made = 0

    async def source() -> AsyncGenerator[int, None]:
        nonlocal made
        for made in range(1, 20):
            yield made
        raise ValueError("end")

    items = read_ahead(source(), 3)
    assert await anext(items) == 1
    for _ in range(20):
        await asyncio.sleep(0)
    assert made <= 6
    with pytest.raises(ValueError, match="end"):
        _ = [item async for item in items]


async def test_what_has_its_checksum_is_passed_on_chunk_by_chunk() -> None:
    content = bytes(range(256)) * 20
    store = Store(pack=b"head" + content + content[:100])
    assert await read(store, checked("pack", 4, content), checked("pack", 4 + len(content), content[:100])) == [
        content, content[:100],
    ]  # fmt: skip


@pytest.mark.parametrize(("length", "started"), [(500, []), (2500, [2500])], ids=["short", "long"])
async def test_changed_bytes_end_before_their_last_chunk_and_short_ones_do_not_begin(
    length: int, started: list[int]
) -> None:
    content = bytes(length)
    store = Store(pack=content[:-1] + b"\1")
    starts, sent = [], 0
    with pytest.raises(StoredDataUnreadable, match="checksum"):
        async for item in items_of(store, checked("pack", 0, content)):
            if isinstance(item, ItemStart):
                starts.append(item.length)
            else:
                sent += len(item)
    assert (starts, sent) == (started, length // 1000 * 1000)


async def test_a_range_with_its_checksum_is_not_ended_when_its_bytes_changed() -> None:
    content = bytes(2500)
    store, digest = Store(pack=content[:-1] + b"\1"), xxhash.xxh3_128(content).digest()
    sent = 0
    with pytest.raises(StoredDataUnreadable, match="checksum"):
        async for chunk in read_range(store, "pack", 0, 2500, digest):  # type: ignore[arg-type]
            sent += len(chunk)
    assert sent == 2000
    store.objects["pack"] = content
    assert [len(chunk) async for chunk in read_range(store, "pack", 0, 2500, digest)] == [1000, 1000, 500]  # type: ignore[arg-type]
