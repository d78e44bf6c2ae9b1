"""The probe of the spool's disk, on folders and mounts that are broken in real ways."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from osteon.cli.doctor import disk
from osteon.cli.doctor.report import Findings
from osteon.settings import SpoolSettings
from osteon.spool.disk import Disk
from osteon.spool.folders import SpoolFolder
from support.cli.doctor import bad

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a file system in memory; skips the test where that is not allowed."""
    mounted = []

    def make(options: str) -> Path:
        place = tmp_path / "mount"
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("no right to mount")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def look(root: Path, **settings: object) -> list[str]:
    findings = Findings("disk")
    disk.check(SpoolSettings(**{"spool_dir": root, "spool_high_water": 1, **settings}), findings)  # type: ignore[arg-type]
    return bad(findings.found)


def test_a_spool_that_works_is_in_order_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    assert look(tmp_path / "spool") == []
    assert [path for path in (tmp_path / "spool").iterdir() if path.name != ".lock"] == []


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    assert look(tmp_path / "data" / "spool") == []
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_spool_fails(mount: Mount) -> None:
    [wrong] = look(mount("ro"))
    assert wrong.startswith("FAIL ")
    assert "Read-only file system" in wrong
    assert "OSTEON_SPOOL_DIR" in wrong


def test_a_full_disk_fails(mount: Mount) -> None:
    place = mount("size=1m")
    (place / "fill").write_bytes(bytes(1 << 20))
    [wrong] = look(place)
    assert "No space left on device → Free space" in wrong


def test_a_disk_above_the_high_water_mark_fails_and_names_the_setting(mount: Mount) -> None:
    place = mount("size=1m")
    (place / "fill").write_bytes(bytes(700 << 10))
    assert any(line.startswith("FAIL") and "HIGH_WATER): C-STORE" in line for line in look(place, spool_high_water=0.5))


def test_a_spool_in_memory_is_warned_of(mount: Mount) -> None:
    assert any(line.startswith("WARN") and "in memory (tmpfs)" in line for line in look(mount("size=1m")))


def test_a_quota_that_is_reached_fails(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, Disk())
    (folder.path / "p.tar").write_bytes(bytes(2048))
    [wrong] = look(tmp_path, spool_quota_bytes=1024)
    assert "OSTEON_SPOOL_QUOTA_BYTES of 1024 bytes reached" in wrong


def test_packs_that_nobody_holds_and_damaged_files_are_named_and_left_alone(tmp_path: Path) -> None:
    orphan = tmp_path / "orphan"
    orphan.mkdir()
    for name in ("lock", "p.tar", "q.tar.damaged"):
        (orphan / name).touch()
    damaged, orphaned = look(tmp_path)
    assert "damaged files: 1, such as orphan/q.tar.damaged" in damaged
    assert "files in folders that no process holds: 2, in orphan" in orphaned
    assert sorted(path.name for path in orphan.iterdir()) == ["lock", "p.tar", "q.tar.damaged"]
    assert [folder.path for folder in SpoolFolder.adopt(tmp_path)] == [orphan]


def test_old_packs_of_a_running_process_ask_for_the_writer(tmp_path: Path) -> None:
    folder = SpoolFolder.create(tmp_path, Disk())
    pack = folder.path / "p.tar"
    pack.touch()
    assert look(tmp_path) == []
    long_ago = time.time() - disk.OLD - 60
    os.utime(pack, (long_ago, long_ago))
    [wrong] = look(tmp_path)
    assert "to be stored: 1 " in wrong
    assert "writer" in wrong
