"""`osteon_local.process` and `.part`: private processes end when they should."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from osteon_local.part import PartError, find_binary, free_port
from osteon_local.process import Process
from support.services import parts  # noqa: F401  (makes osteon_local importable)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_a_process_can_be_stopped_and_started_again(tmp_path: Path) -> None:
    process = Process(["sleep", "60"], log=tmp_path / "log")
    process.start()
    first = process.pid
    assert process.alive
    process.stop()
    assert not process.alive
    process.start()
    assert process.alive
    assert process.pid != first
    process.kill()


def test_a_process_that_ignores_its_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "trap '' TERM; echo ready; sleep 60 & wait; wait"], log=tmp_path / "log")
    process.start()
    while "ready" not in process.tail():
        time.sleep(0.01)
    process.stop(grace=0.1)
    assert process.returncode == -9


def test_killing_takes_the_children_too(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "sleep 60 & echo $!; wait"], log=tmp_path / "log")
    process.start()
    while not process.tail().endswith("\n"):
        time.sleep(0.01)
    child = int(process.tail())
    process.kill()
    wait_until_gone(child)


@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="needs setpriv (util-linux)")
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from osteon_local.process import Process\n"
        f"p = Process(['sleep', '60'], log=Path({str(tmp_path / 'log')!r})); p.start()\n"
        "while Path(f'/proc/{p.pid}/comm').read_text() != 'sleep\\n': pass\n"  # setpriv asks for the signal before
        "print(p.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    local = str(Path(__file__).parents[3] / "deploy" / "local")
    environment = os.environ | {"PYTHONPATH": local}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    wait_until_gone(int(done.stdout))


def test_a_paused_process_does_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    process = Process(["sleep", "60"], log=tmp_path / "log")
    process.start()
    process.pause()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
    process.resume()
    process.stop()
    assert process.returncode == -15


def test_ports_are_not_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_a_missing_program_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(PartError, match=r"no-such-server.*apt-get install no-such-package"):
        find_binary("no-such-server", install="apt-get install no-such-package")
