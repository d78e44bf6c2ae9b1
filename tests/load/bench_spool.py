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

from osteon.spool.sealed_pack import SealedPack
from osteon.spool.spool import Spool, SpoolConfig
from support.spool.instances import association, data_set, store


async def taken(pack: SealedPack) -> None:
    """Stands for the broker."""


async def send(spool: Spool, number: int, count: int, size: int) -> None:
    intake = spool.open_association(association(str(number)))
    sop = f"1.9.{number}.{0:08d}"
    data = bytearray(data_set(sop, series=f"1.2.{number}", pixels=os.urandom(size)))
    place = data.index(sop.encode())
    for index in range(count):
        sop = f"1.9.{number}.{index:08d}"
        data[place : place + len(sop)] = sop.encode()
        outcome = await store(intake, sop, data, piece=128 << 10)
        assert outcome.status == 0, outcome
    await spool.close_association(intake)


async def measure(root: Path, writers: int, count: int, size: int) -> None:
    spool = await Spool.open(SpoolConfig(root=root), taken)
    (user, system), start = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(send(spool, n, count // writers, size) for n in range(writers)))
    seconds = time.perf_counter() - start
    report(f"{writers} association(s)", count, seconds, user, system)
    await spool.close(1)


def plain(root: Path, count: int, size: int) -> None:
    data = os.urandom(size)
    (user, system), start = cpu_seconds(), time.perf_counter()
    with (root / "plain").open("wb", buffering=0) as file:
        for _ in range(count):
            file.write(data)
            os.fdatasync(file.fileno())
    report("write + fdatasync", count, time.perf_counter() - start, user, system)


def report(name: str, count: int, seconds: float, user: float, system: float) -> None:
    now_user, now_system = cpu_seconds()
    user, system = (now_user - user) / count * 1000, (now_system - system) / count * 1000
    print(f"{name:18} {count / seconds:6.0f} instances/s, CPU each {user:.2f} ms user + {system:.2f} ms system")


def cpu_seconds() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


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
