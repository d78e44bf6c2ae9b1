"""Worker processes as the service sees them: started when needed, recycled, killed when they hang."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from osteon import metrics
from osteon.logging import get_logger
from osteon_imaging.priority_semaphore import PrioritySemaphore, Urgency
from osteon_imaging.tasks import FATAL, Task, TaskFailure, TaskOutcome

log = get_logger(__name__)
for _failure in FATAL:
    metrics.IMAGING_WORKERS_ENDED.labels(str(_failure))  # from 0 on: alerts see the first one
WORKER_COMMAND: Final = (sys.executable, "-m", "osteon_imaging.worker")
_LONGEST_ANSWER: Final = 8 << 20
_TASKS_TO_START: Final = 20
"""So many tasks before a worker is replaced, the next one starts."""


@dataclass(slots=True, eq=False)
class _Worker:
    """One process, and how many tasks it has done."""

    process: asyncio.subprocess.Process
    done: int = 0
    retirement: asyncio.TimerHandle | None = field(default=None)

    async def perform(self, task: Task) -> TaskOutcome | None:
        """Send a task and return its outcome; None when the process ends instead."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(task.model_dump_json().encode() + b"\n")
            await self.process.stdin.drain()
            line = await self.process.stdout.readline()
        except (ConnectionError, ValueError):
            return None
        self.done += 1
        return TaskOutcome.model_validate_json(line) if line.endswith(b"\n") else None

    @property
    def is_alive(self) -> bool:
        """Whether the process is there; the event loop notices an end later than the system."""
        if self.process.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    async def end(self) -> int:
        """Kill the process and return its status; minus the signal's number when one ended it before."""
        with suppress(ProcessLookupError):
            self.process.kill()
        return await self.process.wait()


class WorkerPool:
    """At most `count` processes work at a time. Each does `tasks` tasks, and ends after `idle` seconds without one.

    `seconds` is the time of one task, `warm` the number of processes that stay without work.
    """

    def __init__(
        self,
        count: int,
        *,
        tasks: int,
        seconds: float,
        idle: float,
        warm: int = 0,
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._semaphore = PrioritySemaphore(count)
        self._tasks = tasks
        self._warm = warm
        self._seconds = seconds
        self._idle = idle
        self._command = command
        self._free: list[_Worker] = []
        self._busy: set[asyncio.Task[object]] = set()

    async def warm_up(self) -> None:
        """Start the processes that stay."""
        while len(self._free) < self._warm:
            self._free.insert(0, _Worker(await self._start()))

    async def run(self, task: Task, urgency: Urgency = Urgency.SOON, *, seconds: float | None = None) -> TaskOutcome:
        """Let a worker do a task; a crash or hang of the worker is part of the outcome, not an error."""
        seconds = self._seconds if seconds is None else seconds
        async with self._semaphore.acquire(urgency):
            worker = await self._acquire_worker()
            try:
                async with asyncio.timeout(seconds):
                    outcome = await worker.perform(task)
            except TimeoutError:
                outcome = TaskOutcome(failure=TaskFailure.TIME, error=f"took longer than {seconds:g} s")
            except BaseException:
                await worker.end()
                raise
            if outcome is None:
                outcome = _death(await self._dead(worker), task)
            await self._release_worker(worker, outcome)
            return outcome

    async def close(self) -> None:
        """Kill every process, idle or busy."""
        await asyncio.gather(*self._busy, return_exceptions=True)
        while self._free:
            await self._retire(self._free.pop(), "stopped")

    @property
    def pids(self) -> list[int]:
        """Of the processes that wait for work."""
        return [worker.process.pid for worker in self._free]

    async def _acquire_worker(self) -> _Worker:
        while self._free:
            worker = self._free.pop()
            if worker.retirement:
                worker.retirement.cancel()
            if worker.is_alive:
                return worker
            await self._retire(worker, "died")
        return _Worker(await self._start())

    async def _start(self) -> asyncio.subprocess.Process:
        # One thread a worker: there are as many workers as processors that they may use.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=environment,
            limit=_LONGEST_ANSWER,
        )  # fmt: skip
        log.debug("worker started", worker=process.pid)
        return process

    async def _dead(self, worker: _Worker) -> int:
        """Return the status of a process that has closed its output."""
        try:
            async with asyncio.timeout(5):
                return await worker.process.wait()
        except TimeoutError:
            return await worker.end()

    async def _release_worker(self, worker: _Worker, outcome: TaskOutcome) -> None:
        if outcome.failure in FATAL:
            log.warning("worker ended", worker=worker.process.pid, reason=outcome.error)
            await self._retire(worker, str(outcome.failure))
        elif worker.done >= self._tasks:
            await self._retire(worker, "recycled")
        else:
            worker.retirement = asyncio.get_running_loop().call_later(self._idle, self._retire_idle, worker)
            self._free.append(worker)
        if len(self._free) < self._warm or (self._warm and worker.done == self._tasks - _TASKS_TO_START):
            self._run_in_background(self._replace())

    async def _replace(self) -> None:
        """Start a process before it is needed. Those that have begun go first, this one is the last to be used."""
        self._free.insert(0, _Worker(await self._start()))

    def _retire_idle(self, worker: _Worker) -> None:
        if worker in self._free and len(self._free) > self._warm:
            self._free.remove(worker)
            self._run_in_background(self._retire(worker, "idle"))

    def _run_in_background(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _retire(self, worker: _Worker, reason: str) -> int:
        if worker.retirement:
            worker.retirement.cancel()
        metrics.IMAGING_WORKERS_ENDED.labels(reason).inc()
        return await worker.end()


def _death(status: int, task: Task) -> TaskOutcome:
    """Say what a worker's end means for its task."""
    if status == -signal.SIGALRM:
        return TaskOutcome(failure=TaskFailure.TIME, error=f"a frame took longer than {task.frame_seconds:g} s")
    if status == -signal.SIGKILL:
        return TaskOutcome(failure=TaskFailure.KILLED, error="the worker was killed, most likely for its memory")
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return TaskOutcome(failure=TaskFailure.CRASH, error=f"the worker crashed ({how})")
