"""One child process: its log file, its signals, and its end together with the process that started it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

# The kernel sends the parent-death signal when the *thread* that forked ends, so one thread that lives as long as
# the interpreter starts every child.
_LAUNCHER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="launcher")
_STOPPED_WITHIN = 5.0


class Process:
    """A command that can be started again after it has ended."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        privileges: Sequence[str] = (),
    ) -> None:
        """`privileges` are options of setpriv(1), for a server that must not run as root."""
        self.command = [*_setpriv(stop_signal, privileges), *command]
        self.log = log
        self._cwd = cwd
        self._env = dict(os.environ if env is None else env)
        self._stop_signal = stop_signal
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the last start; 0 before the first."""
        return self._child.pid if self._child else 0

    @property
    def returncode(self) -> int | None:
        """Exit status, or None while it runs or was never started."""
        return self._child.poll() if self._child else None

    @property
    def alive(self) -> bool:
        """Whether it runs (or is paused)."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it, its output appended to the log file."""
        with self.log.open("ab") as log:
            self._child = _LAUNCHER.submit(self._spawn, log.fileno()).result()

    def stop(self, grace: float = 15.0) -> None:
        """Ask it to end; after `grace` seconds end it."""
        if self._child is None or not self.alive:
            return
        self.resume()
        self._child.send_signal(self._stop_signal)
        try:
            self._child.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to it and to everything that it started, like a power cut."""
        if self._child is not None:
            self._signal_tree(signal.SIGKILL)
            self._child.wait()

    def pause(self) -> None:
        """Send SIGSTOP to it and to everything that it started: it hangs but its connections stay open."""
        self._signal_tree(signal.SIGSTOP)
        # On a busy machine a thread may answer once more before the signal reaches it.
        deadline = time.monotonic() + _STOPPED_WITHIN
        while self.alive and any(map(_runs, tree(self.pid))) and time.monotonic() < deadline:
            time.sleep(0.005)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal_tree(signal.SIGCONT)

    def tail(self, size: int = 2000) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def _spawn(self, output: int) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal must reach the runner alone, which stops things in order.
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self._cwd,
            env=self._env,
            start_new_session=True,
        )

    def _signal_tree(self, number: signal.Signals) -> None:
        if not self.alive:
            return
        for pid in tree(self.pid):
            with suppress(ProcessLookupError):  # it ended between listing and signalling
                os.kill(pid, number)


def _setpriv(number: signal.Signals, privileges: Sequence[str]) -> list[str]:
    # One setpriv for both: the kernel forgets the parent-death signal when credentials change after it was set.
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    return [setpriv, *privileges, "--pdeathsig", number.name.removeprefix("SIG"), "--"]


def _runs(pid: int) -> bool:
    """Tell whether a thread of the process is not yet stopped."""
    with suppress(OSError):  # it has ended
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
        return not all(state in "TtZX" for state in states)
    return False


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    found = [pid]
    for parent in found:
        with suppress(OSError):  # a process or a thread that has ended meanwhile
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
    return found
