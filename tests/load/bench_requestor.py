"""What sending costs: C-STOREs of 0.5 MB by one association to an acceptor that discards, and to DCMTK's storescp.

Run `python tests/load/bench_requestor.py [instances] [window] [asyncio|uvloop]`; storescp is left out without DCMTK.
`window` is the number of operations in flight that is asked for; storescp grants one.
"""

import asyncio
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pydicom
import uvloop
from pydicom.data import get_testdata_file
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

from osteon import logging
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.requestor import Remote, RequestedAssociation, RequestedContext, RequestorConfig, associate
from osteon.dimse.status import Status

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "local"))
from load.bench_acceptor import Discarding
from osteon_local.part import free_port
from support.dimse.raw_peer import CT, EXPLICIT

PART = 256 << 10
CONTEXTS = [RequestedContext(abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,))]


def slice_of_half_a_megabyte() -> bytes:
    """Encode a CT slice of 512 by 512 times 16 bits."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.Rows = dataset.Columns = 512
    dataset.PixelData = bytes(512 * 512 * 2)
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def accept(port: int) -> None:
    """Run an acceptor that discards, in a process of its own."""
    logging.setup("bench", level="ERROR")

    async def serve() -> None:
        await Acceptor(AcceptorConfig(), Discarding).start("127.0.0.1", port)
        await asyncio.Event().wait()

    uvloop.run(serve())


async def parts_of(data: bytes) -> AsyncIterator[memoryview]:
    """Yield a data set as a reader of packs would."""
    view = memoryview(data)
    for at in range(0, len(data), PART):
        yield view[at : at + PART]


async def store(association: RequestedAssociation, count: int, window: int, data: bytes) -> None:
    """Send so many, `window` at a time."""
    context = association.contexts[0]
    rest = iter(range(count))

    async def one_after_another() -> None:
        for _ in rest:
            outcome = await association.store(context, CT, generate_uid(), parts_of(data), length=len(data))
            assert outcome.status is Status.SUCCESS

    await asyncio.gather(*(one_after_another() for _ in range(window)))


async def measure(name: str, port: int, count: int, window: int) -> None:
    """Print instances a second and what one costs this process."""
    data = slice_of_half_a_megabyte()
    remote = Remote(aet="OSTEON", host="127.0.0.1", port=port)
    async with associate(remote, CONTEXTS, RequestorConfig(async_operations=window)) as association:
        await store(association, 20, window, data)
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await store(association, count, window, data)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    print(f"{name}: {count / seconds:.0f} instances/s of {len(data) / 1e6:.2f} MB,", end=" ")
    print(f"CPU per instance {(user + system) / count * 1e3:.2f} ms", end=" ")
    print(f"(user {user / count * 1e3:.2f}, system {system / count * 1e3:.2f}), peak RSS {after.ru_maxrss >> 10} MB")


async def listening(port: int) -> None:
    """Wait until somebody listens."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def main(count: int, window: int) -> None:
    """Measure against both."""
    port = free_port()
    acceptor = multiprocessing.get_context("spawn").Process(target=accept, args=(port,), daemon=True)
    acceptor.start()
    await listening(port)
    await measure("an acceptor that discards", port, count, window)
    acceptor.terminate()
    if shutil.which("storescp"):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            command = ("storescp", "--ignore", "-pdu", "131072", str(port))
            process = await asyncio.create_subprocess_exec(
                *command, cwd=folder, env={**os.environ, "TCP_NODELAY": "1"}, stderr=asyncio.subprocess.DEVNULL
            )
            await listening(port)
            await measure("storescp --ignore", port, count, window)
            process.terminate()
            await process.wait()


if __name__ == "__main__":
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    at_once = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    logging.setup("bench", level="WARNING")
    (asyncio.run if "asyncio" in sys.argv else uvloop.run)(main(instances, at_once))
