from pathlib import Path

import pytest

from osteon.spool.errors import BadPath
from osteon.spool.paths import release, resolve


@pytest.mark.parametrize("path", ["/etc/x.tar", "../x.tar", "a/../../x.tar", "a/x.part", "a\0.tar", "link/x.tar"])
def test_a_path_out_of_the_spool_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "link").symlink_to(tmp_path)
    with pytest.raises(BadPath):
        resolve(tmp_path / "spool", path)


def test_a_path_in_the_spool_resolves_and_releasing_it_twice_is_no_error(tmp_path: Path) -> None:
    path = resolve(tmp_path, "folder/abc.tar")
    assert path == tmp_path.resolve() / "folder" / "abc.tar"
    path.parent.mkdir()
    path.touch()
    release(path)
    release(path)
    assert not path.exists()


def test_a_link_that_stays_in_the_spool_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert resolve(tmp_path, "link/abc.tar") == tmp_path.resolve() / "folder" / "abc.tar"
