"""What measuring costs: the CPU of one C-STORE's metrics, and of one scrape.

Run `python tests/load/bench_metrics.py [instances]`. docs/performance.md has what an instance costs as a whole.
"""

import asyncio
import sys
import time
from typing import Any, cast

from prometheus_client import generate_latest

from osteon import metrics, tracing
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon_ingress.store_metrics import MeasuredSink, SenderCounts

SUCCESS = Outcome(Status.SUCCESS)


class Instant:
    """A sink that takes no time."""

    received = 500_000
    write = abort = None

    async def finish(self) -> Outcome:
        return SUCCESS


async def finishing(count: int, *, measured: bool) -> float:
    """Return microseconds of CPU for one answer."""
    sender = SenderCounts("BENCH")
    before = time.process_time()
    for _ in range(count):
        sink = cast(Any, Instant())
        await (MeasuredSink(sink, sender) if measured else sink).finish()
    return (time.process_time() - before) / count * 1e6


def timing(count: int) -> float:
    """Return microseconds of CPU that it takes to measure the time of a sync."""
    before = time.process_time()
    for _ in range(count):
        with metrics.SPOOL_SYNC_SECONDS.time():
            pass
    return (time.process_time() - before) / count * 1e6


def off(count: int) -> float:
    """Return microseconds of CPU for a span while tracing is off."""
    before = time.process_time()
    for _ in range(count):
        with tracing.span("nothing"):
            pass
    return (time.process_time() - before) / count * 1e6


def main(count: int) -> None:
    """Print what each costs."""
    bare = asyncio.run(finishing(count, measured=False))
    print(f"metrics of one C-STORE: {asyncio.run(finishing(count, measured=True)) - bare:.2f} µs of CPU")
    print(f"the time of one sync, which several may share: {timing(count):.2f} µs")
    print(f"a span while tracing is off: {off(count):.2f} µs")
    before = time.process_time()
    size = len(generate_latest())
    print(f"one scrape of {size / 1e3:.0f} KB: {(time.process_time() - before) * 1e3:.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
