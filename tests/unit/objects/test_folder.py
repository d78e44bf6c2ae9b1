"""What only the folder promises: durable order of steps, nothing half-written, links instead of copies."""

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from osteon.objects import files
from osteon.objects.folder import FolderObjects
from osteon.objects.port import BadObjectKey, ObjectNotFound, ObjectsUnavailable
from osteon.packs.sidecar_member import PackTail


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


def synced_path(number: int) -> Path:
    """Return what an open file that is synced is called."""
    return Path(f"/proc/self/fd/{number}").readlink()


def tmp_files(root: Path) -> list[Path]:
    return list((root / ".tmp").iterdir())


async def test_put_file_links_on_the_same_file_system(root: Path, tmp_path: Path) -> None:
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"pack")
    await FolderObjects(root).put_file("s/p.tar", pack)
    assert (root / "s/p.tar").stat().st_ino == pack.stat().st_ino


async def test_put_file_copies_where_a_link_cannot_be_made(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    pack = tmp_path / "p.tar"
    pack.write_bytes(bytes(range(256)) * 10_000)
    await FolderObjects(root).put_file("s/p.tar", pack)
    assert (root / "s/p.tar").read_bytes() == pack.read_bytes()
    assert (root / "s/p.tar").stat().st_ino != pack.stat().st_ino


TAIL = PackTail(8, b"the sidecar")


async def test_a_file_gets_its_tail_where_it_is_and_becomes_the_object(root: Path, tmp_path: Path) -> None:
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"members." + bytes(4))
    await FolderObjects(root).put_file("s/p.tar", pack, TAIL)
    assert (root / "s/p.tar").samefile(pack)
    assert pack.read_bytes() == b"members.the sidecar"


async def test_a_tail_is_synced_before_the_object_has_its_name(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[bytes, bool]] = []
    fsync = os.fsync

    def note(number: int) -> None:
        if not synced_path(number).is_dir():
            steps.append((synced_path(number).read_bytes(), (root / "s/p.tar").exists()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", note)
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"members." + bytes(4))
    await FolderObjects(root).put_file("s/p.tar", pack, TAIL)
    assert steps == [(b"members.the sidecar", False)]


async def test_an_object_that_has_its_tail_is_not_written_again(root: Path, tmp_path: Path) -> None:
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"members." + bytes(4))
    objects = FolderObjects(root)
    await objects.put_file("s/p.tar", pack, TAIL)
    pack.chmod(0o400)
    before = pack.stat().st_mtime_ns
    await objects.put_file("s/p.tar", pack, TAIL)
    assert (root / "s/p.tar").samefile(pack)
    assert pack.stat().st_mtime_ns == before


@pytest.mark.parametrize("end", [b"", bytes(4), b"the side", b"another, longer sidecar"])
async def test_an_object_with_another_end_is_replaced_and_never_written_to(
    root: Path, tmp_path: Path, end: bytes
) -> None:
    """Of a release that wrote no tail, or another one: readers may have the object open."""
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"members." + end)
    objects = FolderObjects(root)
    await objects.put_file("s/p.tar", pack)
    with (root / "s/p.tar").open("rb") as reader:
        await objects.put_file("s/p.tar", pack, TAIL)
        assert reader.read() == b"members." + end
    assert (root / "s/p.tar").read_bytes() == b"members.the sidecar"
    assert pack.read_bytes() == b"members." + end
    assert tmp_files(root) == []


@pytest.mark.parametrize("torn", [b"the s", b"the sidecar of a release with a longer one"])
async def test_what_a_crash_left_of_a_tail_is_written_over(root: Path, tmp_path: Path, torn: bytes) -> None:
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"members." + torn)
    await FolderObjects(root).put_file("s/p.tar", pack, TAIL)
    assert (root / "s/p.tar").samefile(pack)
    assert pack.read_bytes() == b"members.the sidecar"


async def test_a_tail_that_cannot_be_written_makes_no_object_and_leaves_the_members(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"members." + bytes(4))

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ObjectsUnavailable, match="No space"):
        await FolderObjects(root).put_file("s/p.tar", pack, TAIL)
    assert not (root / "s/p.tar").exists()
    assert tmp_files(root) == []
    assert pack.read_bytes()[:8] == b"members."


async def test_a_copy_has_the_tail_and_its_source_does_not(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"members." + bytes(40))
    for _ in range(2):
        await FolderObjects(root).put_file("s/p.tar", pack, TAIL)
    assert (root / "s/p.tar").read_bytes() == b"members.the sidecar"
    assert pack.read_bytes() == b"members." + bytes(40)


async def test_putting_the_same_link_again_leaves_no_temporary_file(root: Path, tmp_path: Path) -> None:
    pack = tmp_path / "p.tar"
    pack.write_bytes(b"pack")
    for _ in range(2):
        await FolderObjects(root).put_file("s/p.tar", pack)
    assert tmp_files(root) == []


async def test_an_object_has_its_name_only_after_its_bytes_are_synced(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync = os.fsync

    def note(number: int) -> None:
        kind = "folder" if synced_path(number).is_dir() else "file"
        steps.append(f"{kind} named={(root / 's/t/a').exists()}")
        fsync(number)

    objects = FolderObjects(root)
    await objects.check()
    monkeypatch.setattr(os, "fsync", note)
    await objects.put("s/t/a", b"x")
    assert steps == ["file named=False", *["folder named=True"] * 3]


async def test_the_names_of_folders_are_synced_once_and_again_when_a_folder_was_made_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def note(number: int) -> None:
        if synced_path(number).is_dir():
            synced.append(synced_path(number).name)

    monkeypatch.setattr(os, "fsync", note)

    async def put(key: str) -> list[str]:
        synced.clear()
        await objects.put(key, b"")
        return list(synced)

    objects = FolderObjects(root)
    await objects.put("first", b"")
    assert await put("study/series/1.tar") == ["series", "study", root.name]
    assert await put("study/series/2.tar") == ["series"]
    assert await put("study/other/3.tar") == ["other", "study"]
    await objects.delete("study/other/3.tar")
    assert await put("study/other/4.tar") == ["other", "study"]


@pytest.mark.parametrize("failing", ["file", "folder"])
async def test_a_failed_put_leaves_no_temporary_file(root: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def full(number: int) -> None:
        if synced_path(number).is_dir() == (failing == "folder"):
            raise OSError(errno.ENOSPC, "No space left on device")

    objects = FolderObjects(root)
    await objects.check()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ObjectsUnavailable, match="No space left"):
        await objects.put("s/a", b"x")
    assert tmp_files(root) == []


async def test_what_a_crash_left_is_not_listed_and_is_removed_once_old(root: Path) -> None:
    objects = FolderObjects(root)
    await objects.put("s/a", b"x")
    (root / ".tmp" / "half").write_bytes(b"half")
    assert [info.key async for info in objects.list()] == ["s/a"]

    await FolderObjects(root).check()
    assert [path.name for path in tmp_files(root)] == ["half"], "another process may still write to it"


async def test_an_abandoned_temporary_file_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".tmp").mkdir(parents=True)
    (root / ".tmp" / "half").write_bytes(b"half")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + files.ABANDONED_SECONDS + 5)
    await FolderObjects(root).check()
    assert tmp_files(root) == []


async def test_an_overwrite_that_is_interrupted_keeps_the_old_object(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = FolderObjects(root)
    await objects.put("s/a", b"old")

    def cut(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(ObjectsUnavailable):
        await objects.put("s/a", b"new")
    assert await objects.get("s/a") == b"old"


async def test_an_object_where_a_folder_is_needed_is_a_bad_key(root: Path) -> None:
    objects = FolderObjects(root)
    await objects.put("s/a", b"x")
    with pytest.raises(BadObjectKey):
        await objects.put("s/a/b", b"x")
    with pytest.raises(BadObjectKey):
        await objects.put("s", b"x")
    assert await objects.get("s/a") == b"x"


async def test_delete_removes_the_folders_that_it_empties_but_not_the_root(root: Path) -> None:
    objects = FolderObjects(root)
    await objects.put("study/series/p.tar", b"x")
    await objects.put("study/other/p.tar", b"x")
    await objects.delete("study/series/p.tar")
    assert [path.name for path in (root / "study").iterdir()] == ["other"]
    await objects.delete("study/other/p.tar")
    assert [path.name for path in root.iterdir()] == [".tmp"]


async def test_a_root_that_is_a_file_is_unavailable(root: Path) -> None:
    root.write_bytes(b"")
    objects = FolderObjects(root)
    with pytest.raises(ObjectsUnavailable, match="objects"):
        await objects.check()
    with pytest.raises(ObjectsUnavailable, match="not a folder"):
        await objects.put("a", b"x")
    with pytest.raises(ObjectNotFound):
        await objects.get("a")


async def test_listing_an_absent_root_is_empty(root: Path) -> None:
    assert [info async for info in FolderObjects(root).list()] == []


async def test_a_file_that_is_cut_while_it_is_read_is_never_taken_as_whole(root: Path) -> None:
    objects = FolderObjects(root)
    await objects.put("a", bytes(3 << 20))
    stream = objects.stream("a")
    await anext(stream)
    os.truncate(root / "a", 1 << 20)
    with pytest.raises(ObjectsUnavailable, match="shorter"):
        async for _ in stream:
            pass


async def test_listing_holds_while_objects_are_deleted(root: Path) -> None:
    objects = FolderObjects(root)
    for number in range(700):
        await objects.put(f"{number:03}", b"")
    seen = []
    async for info in objects.list():
        seen.append(info.key)
        await objects.delete(info.key)
    assert seen == [f"{number:03}" for number in range(700)]


async def test_listing_is_in_the_order_of_keys(root: Path) -> None:
    objects = FolderObjects(root)
    names = ["1.2/9/b", "1.2/9/a", "1.2.3/1/a", "1.2-3/1/a", "1.20/1/a", "1.3", "z"]
    for name in names:
        await objects.put(name, b"")
    assert [info.key async for info in objects.list()] == sorted(names)
    assert [info.key async for info in objects.list("1.2")] == sorted(name for name in names if name != "1.3")[:-1]


@pytest.mark.parametrize("system", ["has it in memory", "has to read the disk", "cannot tell", "has part of it"])
async def test_a_stream_gives_the_same_bytes_whatever_the_system_has_in_memory(
    root: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    data = os.urandom((2 << 20) + 12345)
    store = FolderObjects(root)
    await store.put("s/p.tar", data)
    at_hand, to_thread = os.preadv, asyncio.to_thread
    threads = 0

    def preadv(file: int, buffers: list[memoryview], offset: int, flags: int) -> int:
        match system:
            case "has it in memory":
                return at_hand(file, buffers, offset)
            case "has to read the disk":
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            case "cannot tell":
                raise OSError(errno.EOPNOTSUPP, "Operation not supported")
            case _:
                return at_hand(file, [buffers[0][:4096]], offset)

    def in_thread(work: Callable[[], int]) -> Awaitable[int]:
        nonlocal threads
        threads += 1
        return to_thread(work)

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(asyncio, "to_thread", in_thread)
    assert b"".join([chunk async for chunk in store.stream("s/p.tar", 777, 2 << 20)]) == data[777:][: 2 << 20]
    assert threads == (1 if system == "has it in memory" else 3)


async def test_others_get_their_turn_while_a_stream_is_read_from_memory(root: Path) -> None:
    store = FolderObjects(root)
    await store.put("s/p.tar", bytes(8 << 20))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    stream = store.stream("s/p.tar")
    await anext(aiter(stream))
    before = turns
    assert len([chunk async for chunk in stream]) == 7
    assert turns - before >= 7
    task.cancel()
