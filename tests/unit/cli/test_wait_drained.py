"""`osteon wait-drained`: a pod's writer is stopped only when nothing of its spool is left behind."""

import threading
import time
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from osteon.cli import wait_drained
from osteon.spool.disk import Disk
from osteon.spool.folders import SpoolFolder

app = Typer()
app.command()(wait_drained.main)


@pytest.fixture
def spool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("OSTEON_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setattr(wait_drained, "_PAUSE", 0.01)
    return tmp_path / "spool"


def wait(seconds: float) -> Result:
    return CliRunner().invoke(app, ["--timeout", str(seconds)])


def test_a_spool_that_nobody_made_or_uses_is_empty(spool: Path) -> None:
    assert wait(0).exit_code == 0
    SpoolFolder.create(spool, Disk()).release()
    assert wait(0).exit_code == 0


def test_a_process_that_may_still_take_instances_is_waited_for(spool: Path) -> None:
    folder = SpoolFolder.create(spool, Disk())
    done = wait(0.05)
    assert (done.exit_code, "process holds: 1" in done.output) == (1, True)
    folder.release()
    assert wait(0).exit_code == 0


@pytest.mark.parametrize("name", ["p.tar", "p.tar.part"])
def test_a_pack_that_is_not_stored_is_waited_for_until_the_writer_has_stored_it(spool: Path, name: str) -> None:
    folder = SpoolFolder.create(spool, Disk())
    pack = folder.path / name
    pack.touch()
    folder.release()
    late = wait(0.05)
    assert (late.exit_code, "not stored: 1" in late.output) == (1, True)

    def store() -> None:
        time.sleep(0.05)
        pack.unlink()

    writer = threading.Thread(target=store)
    writer.start()
    assert wait(30).exit_code == 0
    writer.join()


def test_a_damaged_file_is_not_waited_for_because_no_writer_takes_it(spool: Path) -> None:
    folder = SpoolFolder.create(spool, Disk())
    (folder.path / "p.tar.damaged").touch()
    folder.release()
    assert wait(0).exit_code == 0
