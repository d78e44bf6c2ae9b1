"""What a service stores is for its user only, also what an older release left open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from osteon.index.sql import SqlIndex
from osteon.objects.files import DurableFolder
from osteon.private_files import make_private, make_private_folder
from osteon.remotes.port import Peer
from osteon_standalone.build import build
from osteon_standalone.settings import StandaloneServiceSettings
from support.index.stored_packs import sqlite_url


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def lax_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_folder_is_made_for_one_user_and_an_existing_one_is_tightened(tmp_path: Path) -> None:
    make_private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700
    (tmp_path / "old").mkdir(mode=0o755)
    make_private_folder(tmp_path / "old")
    assert mode(tmp_path / "old") == 0o700
    make_private(tmp_path / "none")


@pytest.mark.parametrize(("given", "warned"), [(0o755, True), (0o770, False), (0o700, False)])
def test_a_folder_of_another_user_is_left_and_warned_about_if_others_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int, warned: bool
) -> None:
    tmp_path.chmod(given)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with structlog.testing.capture_logs() as lines:
        make_private(tmp_path)
    assert mode(tmp_path) == given
    assert [line["log_level"] for line in lines] == ["warning"] * warned


async def test_the_files_of_sqlite_are_for_one_user_only(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.touch(0o644)
    index = SqlIndex(sqlite_url(path))
    await index.start()
    await index.remotes.put_peer(Peer(name="p", url="http://h/", password="secret"))
    found = {each.name: mode(each) for each in tmp_path.iterdir()}
    await index.close()
    assert {"index.sqlite", "index.sqlite-wal", "index.sqlite-shm"} <= found.keys()
    assert set(found.values()) == {0o600}


async def test_the_data_folder_and_what_is_in_it_are_for_one_user_only(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    settings = StandaloneServiceSettings(data=data, dicom_port=0, http_port=0, demo=False)
    async with build(settings):
        assert mode(data) == 0o700
        assert {mode(each) for each in (data / "spool").iterdir()} <= {0o700, 0o600}
        assert (mode(data / "spool"), mode(data / "index.sqlite")) == (0o700, 0o600)


def test_the_folder_of_objects_is_for_one_user_only(tmp_path: Path) -> None:
    DurableFolder(tmp_path / "objects").write("a/b", b"x")
    assert mode(tmp_path / "objects") == 0o700
