"""What every object store promises, over each implementation of the port."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest

from osteon.errors import Invalid
from osteon.objects.folder import FolderObjects
from osteon.objects.pack_cache import PackCache
from osteon.objects.port import BadObjectKey, ObjectNotFound, Objects
from osteon.objects.s3 import S3Objects
from osteon.packs.sidecar_member import PackTail
from support.services.parts import SeaweedFS

MIB = 1 << 20
LONG = "/".join(["x" * 100] * 11)


@pytest.fixture(params=["folder", "cached", pytest.param("s3", marks=pytest.mark.slow)])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Objects]:
    if request.param != "s3":
        folder = FolderObjects(tmp_path / "objects")
        yield folder if request.param == "folder" else PackCache(folder, tmp_path, 1 << 30)
        return
    server: SeaweedFS = request.getfixturevalue("seaweedfs")
    store = S3Objects(server.endpoint, server.access_key, server.secret_key, "contract")
    yield store
    store.close()


@pytest.fixture
def at() -> str:
    """A prefix of its own for each test, because the tests of one store share its bucket."""
    return f"t{uuid.uuid4().hex}"


async def read(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def keys(objects: Objects, prefix: str) -> list[str]:
    return [info.key async for info in objects.list(prefix)]


async def test_what_was_put_is_what_get_returns(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/a.meta", b"\x00one\xff")
    assert await objects.get(f"{at}/a.meta") == b"\x00one\xff"


async def test_an_empty_object_is_an_object(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/empty", b"")
    assert await objects.get(f"{at}/empty") == b""
    assert await objects.size(f"{at}/empty") == 0
    assert await read(objects.stream(f"{at}/empty")) == b""
    assert await objects.get_range(f"{at}/empty", 0, 0) == b""


async def test_put_replaces_what_was_there(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/a", b"a longer first version")
    await objects.put(f"{at}/a", b"second")
    assert await objects.get(f"{at}/a") == b"second"


async def test_put_file_stores_the_bytes_of_the_file(objects: Objects, at: str, tmp_path: Path) -> None:
    data = os.urandom(3 * MIB + 17)
    (tmp_path / "pack.tar").write_bytes(data)
    await objects.put_file(f"{at}/1.2/1.2.3/p.tar", tmp_path / "pack.tar")
    assert await objects.get(f"{at}/1.2/1.2.3/p.tar") == data
    assert (tmp_path / "pack.tar").read_bytes() == data


@pytest.mark.parametrize("size", [0, 1, 65_536, 3 * MIB + 17])
@pytest.mark.parametrize("kept", [0.0, 0.7, 1.0])
async def test_put_file_ends_with_the_tail_in_the_place_of_the_files_own_end(
    objects: Objects, at: str, tmp_path: Path, size: int, kept: float
) -> None:
    data, end = os.urandom(size), os.urandom(size // 3 + 5)
    (tmp_path / "pack.tar").write_bytes(data)
    tail = PackTail(int(size * kept), end)
    for _ in range(2):
        await objects.put_file(f"{at}/p.tar", tmp_path / "pack.tar", tail)
    assert await objects.get(f"{at}/p.tar") == data[: tail.start] + end
    assert await objects.size(f"{at}/p.tar") == tail.size
    assert await objects.get(f"{at}/p.tar", tail.start) == end
    assert await keys(objects, at) == [f"{at}/p.tar"]


async def test_get_from_an_offset_gives_the_rest_and_nothing_beyond_the_end(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/a", b"0123456789")
    assert [await objects.get(f"{at}/a", offset) for offset in (0, 3, 9, 10)] == [
        b"0123456789", b"3456789", b"9", b"",
    ]  # fmt: skip
    with pytest.raises(Invalid, match="11"):
        await objects.get(f"{at}/a", 11)
    with pytest.raises(ObjectNotFound):
        await objects.get(f"{at}/b", 3)


async def test_put_file_twice_is_the_same_as_once(objects: Objects, at: str, tmp_path: Path) -> None:
    (tmp_path / "pack.tar").write_bytes(b"pack")
    for _ in range(2):
        await objects.put_file(f"{at}/p.tar", tmp_path / "pack.tar")
    assert await keys(objects, at) == [f"{at}/p.tar"]


async def test_the_object_stays_when_the_source_file_is_deleted(objects: Objects, at: str, tmp_path: Path) -> None:
    (tmp_path / "pack.tar").write_bytes(b"pack")
    await objects.put_file(f"{at}/p.tar", tmp_path / "pack.tar")
    (tmp_path / "pack.tar").unlink()
    assert await objects.get(f"{at}/p.tar") == b"pack"


async def test_put_file_of_a_missing_file_says_which(objects: Objects, at: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.tar"):
        await objects.put_file(f"{at}/p.tar", tmp_path / "gone.tar")
    assert await keys(objects, at) == []


async def test_an_absent_object_is_not_found(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/study/pack", b"x")
    for key in (f"{at}/absent", f"{at}/study", f"{at}/study/pack/below"):
        with pytest.raises(ObjectNotFound):
            await objects.get(key)
        with pytest.raises(ObjectNotFound):
            await objects.get_range(key, 0, 1)
        with pytest.raises(ObjectNotFound):
            await objects.get_range(key, 0, 0)
        with pytest.raises(ObjectNotFound):
            await objects.size(key)
        with pytest.raises(ObjectNotFound):
            await read(objects.stream(key))


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (0, 1), (9, 1), (3, 4), (10, 0), (0, 0), (5, 0)])
async def test_a_range_is_exact(objects: Objects, at: str, offset: int, length: int) -> None:
    await objects.put(f"{at}/a", b"0123456789")
    expected = b"0123456789"[offset : offset + length]
    assert await objects.get_range(f"{at}/a", offset, length) == expected
    assert await read(objects.stream(f"{at}/a", offset, length)) == expected
    assert await read(objects.stream(f"{at}/a", offset)) == b"0123456789"[offset:]


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (9, 2), (10, 1), (11, 0), (500, 1), (-1, 1), (1, -1)])
async def test_a_range_beyond_the_end_is_invalid(objects: Objects, at: str, offset: int, length: int) -> None:
    await objects.put(f"{at}/a", b"0123456789")
    with pytest.raises(Invalid):
        await objects.get_range(f"{at}/a", offset, length)
    with pytest.raises(Invalid):
        await read(objects.stream(f"{at}/a", offset, length))


async def test_a_stream_from_beyond_the_end_is_invalid(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/a", b"0123456789")
    with pytest.raises(Invalid):
        await read(objects.stream(f"{at}/a", 11))


async def test_a_stream_comes_in_chunks_of_at_most_1_mib(objects: Objects, at: str) -> None:
    data = os.urandom(2 * MIB + 5)
    await objects.put(f"{at}/big", data)
    chunks = [chunk async for chunk in objects.stream(f"{at}/big", 3)]
    assert b"".join(chunks) == data[3:]
    assert max(map(len, chunks)) <= MIB
    assert all(chunks)


async def test_a_stream_may_be_left_early(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/big", bytes(3 * MIB))
    for _ in range(30):
        stream = objects.stream(f"{at}/big")
        assert await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # every implementation is a generator
    assert await objects.size(f"{at}/big") == 3 * MIB


async def test_size_is_the_number_of_bytes(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/a", bytes(12345))
    assert await objects.size(f"{at}/a") == 12345


async def test_the_path_of_an_object_is_a_file_with_its_bytes_where_objects_are_files(
    objects: Objects, at: str
) -> None:
    await objects.put(f"{at}/a/b", b"bytes")
    path = objects.path(f"{at}/a/b")
    assert (path is None) == isinstance(objects, S3Objects | PackCache)
    assert path is None or path.read_bytes() == b"bytes"
    with pytest.raises(BadObjectKey):
        objects.path(f"{at}/../b")


async def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/x/a", b"a")
    await objects.put(f"{at}/x/b", b"b")
    for _ in range(2):
        await objects.delete(f"{at}/x/a")
    with pytest.raises(ObjectNotFound):
        await objects.get(f"{at}/x/a")
    assert await keys(objects, at) == [f"{at}/x/b"]


async def test_deleting_a_prefix_deletes_nothing(objects: Objects, at: str) -> None:
    await objects.put(f"{at}/x/a", b"a")
    await objects.delete(f"{at}/x")
    assert await keys(objects, at) == [f"{at}/x/a"]


async def test_list_gives_the_keys_with_the_prefix(objects: Objects, at: str) -> None:
    names = ["1.2/9/p.tar", "1.2/9/p.meta", "1.2.3/1/p.tar", "1.20/1/p.tar", "1.3/p", "z"]
    for name in names:
        await objects.put(f"{at}/{name}", name.encode())
    for prefix in ("", "/", "/1.2", "/1.2/", "/1.2/9", "/1.2/9/p", "/1.2/9/p.tar", "/z", "/zz", "/nothing/here"):
        expected = sorted(f"{at}/{name}" for name in names if f"{at}/{name}".startswith(at + prefix))
        assert sorted(await keys(objects, at + prefix)) == expected, prefix


async def test_list_gives_what_is_in_one_folder_together(objects: Objects, at: str) -> None:
    names = ["1.2/9/a", "1.2/9/b", "1.2.3/1/a", "1.2/8/a", "1.2-3/1/a", "1.20/1/a", "1.2.3/1/b"]
    for name in names:
        await objects.put(f"{at}/{name}", b"")
    for depth in (2, 3):
        folders = ["/".join(key.split("/")[:depth]) for key in await keys(objects, at)]
        assert len(list(groupby(folders))) == len(set(folders))


async def test_list_tells_size_and_time(objects: Objects, at: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    await objects.put(f"{at}/a", b"12345")
    (info,) = [info async for info in objects.list(at)]
    assert (info.key, info.size) == (f"{at}/a", 5)
    assert before <= info.modified <= datetime.now(UTC) + timedelta(seconds=2)


async def test_list_goes_on_past_a_page(objects: Objects, at: str) -> None:
    folders = ["1.2", "1.2.3", "1.2-3", "1.20"]
    names = [f"{at}/{folder}/{number:03}" for number in range(303) for folder in folders]
    for start in range(0, len(names), 50):
        await asyncio.gather(*(objects.put(name, b"") for name in names[start : start + 50]))
    assert sorted(await keys(objects, at)) == sorted(names)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        ".",
        ".tmp/a",
        "a\0b",
        "a\nb",
        "a\\b",
        "x" * 256,
        LONG,
        "\udcff",
    ],
    ids=lambda key: ascii(key)[:12],
)
async def test_a_bad_key_is_refused_everywhere(objects: Objects, tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BadObjectKey):
        await objects.put(key, b"x")
    with pytest.raises(BadObjectKey):
        await objects.put_file(key, tmp_path / "file")
    with pytest.raises(BadObjectKey):
        await objects.get(key)
    with pytest.raises(BadObjectKey):
        await objects.get_range(key, 0, 1)
    with pytest.raises(BadObjectKey):
        await objects.size(key)
    with pytest.raises(BadObjectKey):
        await objects.delete(key)
    with pytest.raises(BadObjectKey):
        await anext(objects.stream(key))


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "a//", ".tmp"])
async def test_a_prefix_that_no_key_can_have_is_refused(objects: Objects, prefix: str) -> None:
    with pytest.raises(BadObjectKey):
        await keys(objects, prefix)


@pytest.mark.parametrize("name", ["ä ö/Ünï", "a b", "a+b%20c", "a&b=c?d#e", "'\"<>", "日本"])
async def test_a_key_may_have_other_printable_characters(objects: Objects, at: str, name: str) -> None:
    await objects.put(f"{at}/{name}", name.encode())
    assert await objects.get(f"{at}/{name}") == name.encode()
    assert await keys(objects, at) == [f"{at}/{name}"]
    await objects.delete(f"{at}/{name}")
    assert await keys(objects, at) == []


async def test_many_writers_of_one_key_leave_one_whole_object(objects: Objects, at: str) -> None:
    versions = [bytes([number]) * 100_000 for number in range(8)]
    await asyncio.gather(*(objects.put(f"{at}/a", version) for version in versions))
    assert await objects.get(f"{at}/a") in versions


async def test_put_and_delete_in_the_same_place_do_not_disturb_each_other(objects: Objects, at: str) -> None:
    async def churn(name: str) -> None:
        for _ in range(20):
            await objects.put(f"{at}/x/y/{name}", name.encode())
            await objects.delete(f"{at}/x/y/{name}")
        await objects.put(f"{at}/x/y/{name}", name.encode())

    await asyncio.gather(*(churn(name) for name in "abcd"))
    assert await keys(objects, at) == [f"{at}/x/y/{name}" for name in "abcd"]


async def test_a_store_that_works_passes_the_check(objects: Objects) -> None:
    await objects.check()
