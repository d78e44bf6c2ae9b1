"""Speed of the spool alone: `python tests/load/bench_spool.py [instances] [bytes]`.

Prints instances/s and CPU per instance (SHA-256 and fdatasync included) for 1 and 4 associations that each wait for
an answer before they send on, and what the same bytes cost without a spool (`write` + `fdatasync` in the event loop).
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from osteon.spool.sealed import SealedPack
from osteon.spool.spool import Spool, SpoolConfig
from support.spool import association, data_set, store


async def taken(pack: SealedPack) -> None:
    """Stands for the broker."""


async def send(spool: Spool, number: int, count: int, size: int) -> None:
    intake = spool.intake(association(str(number)))
    pixels = os.urandom(size)
    for index in range(count):
        sop = f"1.9.{number}.{index}"
        outcome = await store(intake, sop, data_set(sop, series=f"1.2.{number}", pixels=pixels), piece=128 << 10)
        assert outcome.status == 0, outcome
    await spool.end(intake)


async def measure(root: Path, writers: int, count: int, size: int) -> None:
    spool = await Spool.open(SpoolConfig(root=root), taken)
    cpu, start = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(send(spool, n, count // writers, size) for n in range(writers)))
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    await spool.close(1)
    print(f"{writers} association(s): {count / seconds:6.0f} instances/s, {cpu / count * 1000:.2f} ms CPU each")


def plain(root: Path, count: int, size: int) -> None:
    data = os.urandom(size)
    cpu, start = cpu_seconds(), time.perf_counter()
    with (root / "plain").open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(data)
            os.fdatasync(file.fileno())
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    print(f"write + fdatasync: {count / seconds:6.0f} instances/s, {cpu / count * 1000:.2f} ms CPU each")


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 800
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 512 << 10
    for writers in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            uvloop.run(measure(Path(folder), writers, count, size))
    with tempfile.TemporaryDirectory() as folder:
        plain(Path(folder), count, size)


if __name__ == "__main__":
    main()
