"""The cache of pictures in the object store: its bound, who goes first, and what is not taken for a picture."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osteon.contracts.imaging import INLINE_BYTES, RENDERED, RenderRequest
from osteon.objects.folder import FolderObjects
from osteon_imaging.render_cache import RenderCache, RenderedFiles
from osteon_imaging.source_cache import IN_PLACE, ObjectRange, SourceCache

UID = "1.2.840.10008.1.2.1"


class RemoteObjects(FolderObjects):
    """Objects that are not files; remembers what is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.streamed: list[str] = []

    def path(self, key: str) -> None:  # type: ignore[override]
        return None

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[memoryview]:
        self.streamed.append(key)
        return super().stream(key, offset, length)


def request(**changes: object) -> RenderRequest:
    usual = {"correlation_id": "c", "key": "1/2/p.tar", "offset": 512, "length": 9, "mode": "preview"}
    return RenderRequest.model_validate({**usual, "media_type": "image/png", **changes})


def test_a_picture_has_the_same_key_whoever_asks_for_it() -> None:
    key = request().cache_key
    assert key.startswith(RENDERED)
    assert request(correlation_id="d", background=True).cache_key == key
    assert request(quality=50).cache_key == key


@pytest.mark.parametrize(
    "change",
    [
        {"key": "1/2/q.tar"}, {"offset": 1024}, {"frames": [2]}, {"mode": "rendered"}, {"media_type": "image/jpeg"},
        {"window": (1, 2, "linear")}, {"viewport": (1, 2, None, None, None, None)}, {"width": 3}, {"smooth": True},
        {"rescale": False}, {"compress": True},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_another_picture_or_other_bytes_have_another_key(change: dict[str, object]) -> None:
    assert request(**change).cache_key != request().cache_key


def test_quality_makes_another_jpeg() -> None:
    assert request(media_type="image/jpeg", quality=50).cache_key != request(media_type="image/jpeg").cache_key


class Cache:
    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.objects = FolderObjects(folder)
        self.pictures = RenderCache(self.objects, limit)

    async def put(self, name: str, size: int, *, age: float = 0.0) -> str:
        key = f"{RENDERED}aa/{name}"
        await self.pictures.put(key, RenderedFiles("image/png", (size,), UID, b"x" * size))
        when = time.time() - age
        os.utime(self.folder / key, (when, when))
        return key

    async def names(self) -> list[str]:
        return [info.key.rpartition("/")[2] async for info in self.objects.list(RENDERED)]


async def test_a_small_picture_comes_back_with_its_bytes_and_its_lengths(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1 << 20)
    await cache.pictures.put(f"{RENDERED}aa/b", RenderedFiles("image/jpeg", (2, 3), UID, b"abcde"))
    found = await cache.pictures.get(f"{RENDERED}aa/b")
    assert found == RenderedFiles("image/jpeg", (2, 3), UID, b"abcde")
    assert await cache.pictures.get(f"{RENDERED}aa/c") is None


async def test_a_large_picture_stays_in_the_object_store_where_its_files_begin_the_object(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "objects", 1 << 30)
    file = tmp_path / "large"
    file.write_bytes(b"y" * 2 * INLINE_BYTES)
    lengths = (INLINE_BYTES - 1, INLINE_BYTES + 1)
    await cache.pictures.put(f"{RENDERED}aa/b", RenderedFiles("image/png", lengths, UID), file)
    assert await cache.pictures.get(f"{RENDERED}aa/b") == RenderedFiles("image/png", lengths, UID)
    assert await cache.objects.get_range(f"{RENDERED}aa/b", 0, 2 * INLINE_BYTES) == b"y" * 2 * INLINE_BYTES


@pytest.mark.parametrize("damage", [b"", b"short", b"\0\0\0\x02[]", b"x" * 40 + b"\xff\xff\xff\xff"], ids=range(4))
async def test_a_damaged_object_is_no_picture(damage: bytes, tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1 << 20)
    await cache.objects.put(f"{RENDERED}aa/b", damage)
    assert await cache.pictures.get(f"{RENDERED}aa/b") is None


async def test_the_oldest_pictures_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3500)
    for name, age in (("a", 500), ("b", 900), ("c", 700), ("d", 100)):
        await cache.put(name, 1000, age=age)
    await cache.objects.put("1/2/p.tar", b"a pack")
    assert await cache.pictures.tidy() == 1
    assert await cache.names() == ["a", "c", "d"]
    assert await cache.objects.get("1/2/p.tar") == b"a pack"
    assert await cache.pictures.tidy() == 0


async def test_a_picture_that_was_used_outlives_one_that_was_not_and_restarts(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 3500)
    for name, age in (("a", 9000), ("b", 8000), ("c", 7500), ("d", 7200)):
        await cache.put(name, 1000, age=age)
    assert await cache.pictures.get(f"{RENDERED}aa/a")
    await cache.pictures.tidy()
    assert await cache.names() == ["a", "c", "d"]
    again = Cache(tmp_path, 2500)  # another process, which knows only what the object store says
    await again.pictures.tidy()
    assert await again.names() == ["a", "d"]


async def test_a_picture_that_somebody_was_just_told_of_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 0)
    await cache.put("young", 1000)
    await cache.put("old", 1000, age=100)
    await cache.pictures.tidy()
    assert await cache.names() == ["young"]


async def test_a_part_of_a_file_is_read_where_it_is(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    async with SourceCache(objects, tmp_path, 0).open(ObjectRange("1/2/p.tar", 512, 10)) as part:
        assert part == ObjectRange(str(tmp_path / "1/2/p.tar"), 512, 10)


async def test_an_instance_from_s3_is_fetched_once_for_several_requests(tmp_path: Path) -> None:
    objects = RemoteObjects(tmp_path / "objects")
    await objects.put("p", b"0123456789")
    folder = tmp_path / "files"
    folder.mkdir()
    sources = SourceCache(objects, folder, limit=5)
    wanted = ObjectRange("p", 2, 5)
    async with sources.open(wanted) as first, sources.open(wanted) as second:
        assert first == second == ObjectRange(first.where, 0, 5)
        assert Path(first.where).read_bytes() == b"23456"
    async with sources.open(wanted):
        assert objects.streamed == ["p"]
    async with sources.open(ObjectRange("p", 0, 3)) as other:
        assert Path(other.where).read_bytes() == b"012"
    assert [path.read_bytes() for path in folder.iterdir()] == [b"012"]  # the one used last, within the limit


async def test_an_instance_that_can_not_be_fetched_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    objects = RemoteObjects(tmp_path / "objects")
    folder = tmp_path / "files"
    folder.mkdir()
    sources = SourceCache(objects, folder, limit=100)
    for _ in range(2):
        with pytest.raises(Exception, match="no object 'p'"):
            async with sources.open(ObjectRange("p", 0, 3)):
                pass
    assert list(folder.iterdir()) == []
    await objects.put("p", b"abc")
    async with sources.open(ObjectRange("p", 0, 3)) as part:
        assert Path(part.where).read_bytes() == b"abc"


async def test_a_long_part_of_a_file_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path / "objects")
    (tmp_path / "objects").mkdir()
    with (tmp_path / "objects" / "p").open("wb") as file:
        file.truncate(IN_PLACE + 1024)
    async with SourceCache(objects, tmp_path, 0).open(ObjectRange("p", 512, IN_PLACE + 1)) as part:
        assert (part.offset, Path(part.where).stat().st_size) == (0, IN_PLACE + 1)
    assert not Path(part.where).exists()
