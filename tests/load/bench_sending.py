"""What sub-operations cost: instances from packs in a folder, by one association, to an acceptor that discards.

Run `python tests/load/bench_sending.py [--kb 20] [--count 5000] [--no-verify] [--profile] [asyncio]`.
"""

import argparse
import asyncio
import cProfile
import io
import multiprocessing
import os
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import uvloop

from osteon import logging
from osteon.bus.memory import MemoryBus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.part10 import write_part10_header
from osteon.dimse.requestor import Remote, associate
from osteon.objects.folder import FolderObjects
from osteon.sending.store_sender import StoreSender
from osteon.sending.suboperations import SubOperationOutcome

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))
from load.bench_requestor import accept, listening
from osteon_local.part import free_port
from support.dimse.raw_peer import CT, EXPLICIT

PACK = 64 << 20
TAR_BLOCK = 512


def fill(folder: Path, size: int, count: int) -> list[PlannedInstance]:
    """Write packs and return what is in them: the same pack again and again, as the cost of the disk is no matter."""
    from hashlib import sha256

    planned, pack = [], io.BytesIO()
    data = os.urandom(size)
    for number in range(min(count, max(1, PACK // size))):
        uid = f"1.2.826.0.1.3680043.8.498.{number}"
        header = write_part10_header(CT, uid, EXPLICIT, source_aet="BENCH", sha256=sha256(data).digest())
        pack.write(bytes(TAR_BLOCK))
        planned.append(
            PlannedInstance(
                sop_class_uid=CT,
                sop_instance_uid=uid,
                transfer_syntax_uid=EXPLICIT,
                key="1/1/pack.tar",
                offset=pack.tell(),
                length=len(header) + size,
            )
        )
        pack.write(header + data)
        pack.write(bytes(-pack.tell() % TAR_BLOCK))
    (folder / "1/1").mkdir(parents=True)
    (folder / "1/1/pack.tar").write_bytes(pack.getvalue())
    return (planned * (count // len(planned) + 1))[:count]


async def each(planned: list[PlannedInstance]) -> AsyncIterator[PlannedInstance]:
    """Iterate as a plan does."""
    for instance in planned:
        yield instance


async def deliver(sending: StoreSender, remote: Remote, planned: list[PlannedInstance]) -> None:
    """Send all."""
    async with aclosing(sending.deliver(partial(associate, remote), each(planned))) as results:
        async for sent in results:
            assert sent.counts_as is SubOperationOutcome.COMPLETED, sent.reason


async def main(args: argparse.Namespace) -> None:
    """Measure."""
    port = free_port()
    acceptor = multiprocessing.get_context("spawn").Process(target=accept, args=(port,), daemon=True)
    acceptor.start()
    await listening(port)
    size = args.kb * 1000
    with tempfile.TemporaryDirectory() as folder:
        planned = fill(Path(folder), size, args.count)
        sending = StoreSender(FolderObjects(Path(folder)), MemoryBus(), verify=args.verify)
        remote = Remote(aet="OSTEON", host="127.0.0.1", port=port)
        await deliver(sending, remote, planned[:200])
        profile = cProfile.Profile()
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        if args.profile:
            profile.enable()
        await deliver(sending, remote, planned)
        profile.disable()
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    acceptor.terminate()
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(
        f"{len(planned) / seconds:.0f} instances/s of {args.kb} kB, {len(planned) * size / seconds / 1e6:.0f} MB/s,",
        end=" ",
    )
    print(f"CPU per instance {cpu / len(planned) * 1e3:.3f} ms, peak RSS {after.ru_maxrss >> 10} MB")
    if args.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kb", type=int, default=20)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--no-verify", dest="verify", action="store_false")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("loop", nargs="?", default="uvloop")
    arguments = parser.parse_args()
    logging.setup("bench", level="WARNING")
    (asyncio.run if arguments.loop == "asyncio" else uvloop.run)(main(arguments))
