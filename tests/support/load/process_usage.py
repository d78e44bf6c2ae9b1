"""What processes use while something runs: CPU and memory, with all that they started, from /proc (proc(5))."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from osteon_local.process import tree

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessUsage:
    """Of one part with its children: seconds of CPU (user and system), bytes of memory.

    `peak` is the sum of VmHWM, so memory that processes share counts once for each, and so do pages of mapped files.
    `anonymous` is the highest sum of RssAnon that was seen, which leaves both out.
    """

    cpu: float
    peak: int
    anonymous: int


class UsageWatch:
    """Measures named processes for a `with` block; `busy` is what all processes of the machine used."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = processes
        self._anonymous: dict[str, int] = defaultdict(int)
        self._end = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.usage: dict[str, ProcessUsage] = {}
        self.seconds = 0.0
        self.busy = 0.0
        self.own = 0.0
        """Seconds of CPU of the process that watches."""

    def __enter__(self) -> Self:
        for pid in self._processes.values():
            for member in tree(pid):
                with suppress(OSError):  # one that has ended, or belongs to someone else
                    Path(f"/proc/{member}/clear_refs").write_text("5")  # VmHWM counts from here
        self._before = {name: cpu_seconds(pid) for name, pid in self._processes.items()}
        self._began, self._busy = time.perf_counter(), busy_seconds()
        self._own = time.process_time()
        self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.seconds, self.busy = time.perf_counter() - self._began, busy_seconds() - self._busy
        cpu = {name: cpu_seconds(pid) - self._before[name] for name, pid in self._processes.items()}
        self.own = time.process_time() - self._own
        self._end.set()
        self._sampler.join()
        peaks = {name: memory(pid, "VmHWM") for name, pid in self._processes.items()}
        self.usage = {name: ProcessUsage(cpu[name], peaks[name], self._anonymous[name]) for name in self._processes}

    def _sample(self) -> None:
        ended = False
        while not ended:
            ended = self._end.wait(0.2)
            for name, pid in self._processes.items():
                self._anonymous[name] = max(self._anonymous[name], memory(pid, "RssAnon"))


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, its threads, what it started and what of that has ended."""
    total = 0
    for member in tree(pid):
        with suppress(OSError):  # it ended meanwhile; then its parent has its time
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])
    return total / _TICK


def busy_seconds() -> float:
    """Return the time that all cores together were not idle."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICK  # without idle and iowait


def memory(pid: int, field: str) -> int:
    """Return the bytes that a field of /proc/PID/status gives for a process and what it started."""
    total = 0
    for member in tree(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{member}/status").read_text().splitlines():
                if line.startswith(f"{field}:"):
                    total += int(line.split()[1]) << 10
    return total
