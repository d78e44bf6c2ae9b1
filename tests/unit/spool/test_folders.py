import asyncio
from pathlib import Path

from osteon.packs.tar import END_OF_ARCHIVE
from osteon.spool.disk import Disk
from osteon.spool.folders import SpoolFolder, files
from osteon.spool.paths import OPEN
from osteon.spool.spool import Spool, SpoolConfig
from support.spool.instances import RecordingPublish, association, contents, data_set, store


def test_a_folder_that_a_process_holds_is_not_adopted(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, Disk())
    assert SpoolFolder.adopt(tmp_path) == []
    (folder.path / "x.tar").touch()
    folder.release()
    (adopted,) = SpoolFolder.adopt(tmp_path)
    assert adopted.path == folder.path
    assert SpoolFolder.adopt(tmp_path) == []


def test_a_folder_is_removed_when_it_is_released_empty(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, Disk())
    folder.release()
    assert not folder.path.exists()


def test_a_folder_that_was_half_made_or_half_removed_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "abc").mkdir()
    SpoolFolder.create(tmp_path, Disk())
    assert [folder.path.name for folder in SpoolFolder.adopt(tmp_path)] == ["abc"]


def test_a_folder_that_is_removed_while_a_spool_is_looked_through_is_passed_over(tmp_path: Path) -> None:
    gone, stays = tmp_path / "a", tmp_path / "b"
    for folder in (gone, stays):
        folder.mkdir()
        (folder / "x.tar").touch()
    seen = files(tmp_path)
    first = next(seen)
    other = stays if first.parent == gone else gone
    (other / "x.tar").unlink()
    other.rmdir()
    assert list(seen) == []


async def test_a_file_that_cannot_be_recovered_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    class FailingDisk(Disk):
        def truncate(self, fd: int, size: int) -> None:
            if Path(f"/proc/self/fd/{fd}").readlink().name == f"0{OPEN}":
                failures.append(size)
                raise ValueError("an error of an unexpected type")
            super().truncate(fd, size)

    failures: list[int] = []
    published = RecordingPublish()
    config = SpoolConfig(root=tmp_path, adopt_every=0.02)
    first = await Spool.open(config, published, disk=FailingDisk())
    intake = first.open_association(association())
    await store(intake, "1.9.1", data_set("1.9.1"))
    (part,) = tmp_path.glob(f"*/*{OPEN}")
    left = tmp_path / "left"
    left.mkdir()
    (left / f"0{OPEN}").write_bytes(part.read_bytes())
    (left / part.name).write_bytes(part.read_bytes())

    async with asyncio.timeout(20):
        while not published.packs:
            await asyncio.sleep(0.01)
    assert published.packs[0].pack_id == part.name.removesuffix(OPEN)
    assert failures
    await first.close(5)


async def test_what_a_process_left_is_published_by_the_next_one_and_its_folder_removed(tmp_path: Path) -> None:
    published = RecordingPublish()
    config = SpoolConfig(root=tmp_path, sweep_every=0.02, adopt_every=0.02)
    first = await Spool.open(config, published)
    intake = first.open_association(association())
    await store(intake, "1.9.1", data_set("1.9.1"))
    (part,) = tmp_path.glob(f"*/*{OPEN}")
    left = tmp_path / "left"
    left.mkdir()
    (left / part.name).write_bytes(part.read_bytes()[: -len(END_OF_ARCHIVE) - 600])
    (left / part.name.replace("0", "1")).write_bytes(part.read_bytes() + b"torn" * 99)
    try:
        async with asyncio.timeout(20):
            while not published.packs:
                await asyncio.sleep(0.01)
        (pack,) = published.packs
        assert contents(tmp_path / pack.path) == {"1.9.1": data_set("1.9.1")}
        assert (pack.correlation_id, pack.remote_host) == (pack.pack_id, "")
        (tmp_path / pack.path).unlink()
        async with asyncio.timeout(20):
            while left.exists():
                await asyncio.sleep(0.01)
    finally:
        await first.close(5)
