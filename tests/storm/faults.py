"""Begins and ends the faults of a plan on a running archive."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping

from storm.plan import Fault, FaultKind
from storm.worlds import StormArchive

DELAY = 0.15
"""Seconds by which a slow link is late, for each piece in each direction."""
_INJECT = {
    FaultKind.SYNC: ("fdatasync,fsync", "error=EIO:when=1+2"),
    FaultKind.WRITE: ("pwritev,pwritev2", "error=ENOSPC:when=1+3"),
}


class Faults:
    """The faults that are on; `skipped` are those that this machine can not do, by reason."""

    def __init__(self, world: StormArchive) -> None:
        self._world = world
        self._tracers: dict[Fault, subprocess.Popen[bytes]] = {}

    def possible(self, fault: Fault) -> str:
        """Return why a fault can not be brought about here, or nothing."""
        if fault.kind is FaultKind.FULL and not self._world.disk.real:
            return "no tmpfs could be mounted: run as root"
        if fault.kind in _INJECT and not (shutil.which("strace") and os.geteuid() == 0):
            return "strace and root are needed"
        return ""

    def begin(self, fault: Fault) -> None:
        """Bring a fault about."""
        kind, target = fault.kind, fault.target
        if kind in _INJECT:
            calls, how = _INJECT[kind]
            trace = ["-e", f"trace={calls}", "-e", f"inject={calls}:{how}", "-p", str(self._world.pid(target))]
            self._tracers[fault] = subprocess.Popen(
                ["strace", "-f", "-qq", "-o", "/dev/null", *trace], stderr=subprocess.DEVNULL
            )
            return
        self._begin(target)[kind]()

    def end(self, fault: Fault) -> None:
        """Take it away again."""
        kind, target = fault.kind, fault.target
        if tracer := self._tracers.pop(fault, None):
            tracer.terminate()
            tracer.wait(20)
        elif kind is FaultKind.KILL:
            self._world.restart(target)
        elif kind is FaultKind.PAUSE:
            self._world.processes[target].resume()
        elif kind is FaultKind.FULL:
            self._world.disk.empty()
        else:
            self._world.links[target].mend()

    def _begin(self, target: str) -> Mapping[FaultKind, Callable[[], None]]:
        if target == "disk":
            return {FaultKind.FULL: self._world.disk.fill}
        if target in self._world.links:
            link = self._world.links[target]
            return {FaultKind.CUT: link.cut, FaultKind.STALL: link.stall, FaultKind.DELAY: lambda: link.delay(DELAY)}
        process = self._world.processes[target]
        return {FaultKind.KILL: process.kill, FaultKind.PAUSE: process.pause}
