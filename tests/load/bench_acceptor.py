"""What the upper layer costs: DCMTK's storescu against an acceptor that discards.

Run `python tests/load/bench_acceptor.py [instances] [associations] [asyncio|uvloop]`; needs DCMTK.
"""

import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import pydicom
import uvloop
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from osteon.dimse.acceptor import Acceptor
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo, FindRequest, Outcome, PresentationContext, StoreRequest
from osteon.dimse.status import Status

SUCCESS = Outcome(Status.SUCCESS)


class Discarding:
    """Handler and sink in one: counts and forgets."""

    count = size = 0

    def __init__(self, info: AssociationInfo) -> None:
        self.info = info

    async def echo(self) -> Outcome:
        return SUCCESS

    def store(self, request: StoreRequest, context: PresentationContext) -> "Discarding":
        return self

    def find(self, request: FindRequest) -> None:
        raise NotImplementedError

    def write(self, fragment: memoryview) -> None:
        Discarding.size += len(fragment)

    async def finish(self) -> Outcome:
        Discarding.count += 1
        return SUCCESS

    def abort(self) -> None:
        pass

    async def closed(self) -> None:
        pass


def make_instances(folder: Path, count: int) -> None:
    """Write CT slices of 0.5 MB (512 by 512, 16 bits)."""
    template = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    template.Rows = template.Columns = 512
    template.PixelData = bytes(512 * 512 * 2)
    template.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for number in range(count):
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        template.save_as(folder / f"{number}.dcm")


async def send(folder: Path, port: int) -> None:
    """Send the folder by one association."""
    environment = {**os.environ, "TCP_NODELAY": "1", "TCP_BUFFER_LENGTH": os.environ.get("TCP_BUFFER_LENGTH", "")}
    environment = {key: value for key, value in environment.items() if value}
    process = await asyncio.create_subprocess_exec(
        "storescu", "-aec", "OSTEON", "127.0.0.1", str(port), "+sd", str(folder), env=environment
    )
    assert await process.wait() == 0


async def main(count: int, associations: int) -> None:
    """Print instances a second and CPU an instance."""
    acceptor = Acceptor(AcceptorConfig(), Discarding)
    port = await acceptor.start("127.0.0.1", 0)
    with tempfile.TemporaryDirectory() as folder:
        make_instances(Path(folder), count)
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await asyncio.gather(*(send(Path(folder), port) for _ in range(associations)))
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    total = Discarding.count
    print(f"{total} instances of {Discarding.size / total / 1e6:.2f} MB by {associations} association(s)")
    print(f"{total / seconds:.0f} instances/s, CPU per instance {(user + system) / total * 1e3:.2f} ms", end=" ")
    print(f"(user {user / total * 1e3:.2f}, system {system / total * 1e3:.2f}), peak RSS {after.ru_maxrss >> 10} MB")
    await acceptor.close()


if __name__ == "__main__":
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    at_once = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    run = asyncio.run if "asyncio" in sys.argv else uvloop.run
    run(main(instances, at_once))
