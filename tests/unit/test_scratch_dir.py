"""The folder for files in flight, and those that killed processes left behind."""

import tempfile
from pathlib import Path

import pytest

from osteon.scratch_dir import scratch_dir


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_that_nobody_holds_is_removed_with_what_is_in_it(temporary: Path) -> None:
    (temporary / "osteon-query-killed" / "upload-1").mkdir(parents=True)
    (temporary / "osteon-query-killed" / "upload-1" / "1.dcm").write_bytes(b"x")
    with scratch_dir("query") as folder:
        assert list(temporary.iterdir()) == [folder]
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_process_that_runs_is_left_alone() -> None:
    with scratch_dir("query") as first:
        (first / "1.dcm").write_bytes(b"x")
        with scratch_dir("query") as second:
            assert first != second
            assert (first / "1.dcm").exists()


def test_what_is_not_a_folder_of_its_own_is_left_alone(temporary: Path) -> None:
    (temporary / "precious").mkdir()
    (temporary / "osteon-query-link").symlink_to(temporary / "precious")
    (temporary / "osteon-other").mkdir()
    with scratch_dir("query"):
        assert (temporary / "precious").exists()
        assert (temporary / "osteon-query-link").exists()
        assert (temporary / "osteon-other").exists()
