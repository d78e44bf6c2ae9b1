"""How long the event loop is held: the work between two looks at its sockets."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class LoopProbe:
    """The longest turn of a loop, in seconds of CPU: a busy machine does not make it longer."""

    longest: float = 0.0
    turns: int = 0
    work: int = 0
    """What was counted in the present turn, by a test."""
    most_work: int = 0

    def end_turn(self, seconds: float) -> None:
        """The loop looks at its sockets again."""
        self.longest = max(self.longest, seconds)
        self.most_work = max(self.most_work, self.work)
        self.work = 0
        self.turns += 1


@contextmanager
def probed_loop() -> Iterator[LoopProbe]:
    """Measure the running loop, which is asyncio's own, inside the block."""
    loop: Any = asyncio.get_running_loop()
    probe, selector = LoopProbe(), loop._selector
    select, began = selector.select, time.thread_time()

    def probed_select(timeout: float | None = None) -> Any:
        nonlocal began
        probe.end_turn(time.thread_time() - began)
        try:
            return select(timeout)
        finally:
            began = time.thread_time()

    selector.select = probed_select
    try:
        yield probe
    finally:
        selector.select = select
