"""What the upper layer costs: associations of one C-ECHO each, and DCMTK's storescu, to an acceptor that discards.

Run `python tests/load/bench_acceptor.py [instances] [associations] [asyncio|uvloop]`; needs DCMTK.
"""

import asyncio
import multiprocessing
import os
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path

import pydicom
import uvloop
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from osteon import logging
from osteon.dimse.acceptor import Acceptor
from osteon.dimse.config import AcceptorConfig
from osteon.dimse.handler import AssociationInfo, FindRequest, Outcome, PresentationContext, StoreRequest
from osteon.dimse.sop_classes import storage_classes
from osteon.dimse.status import Status

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.dimse.raw_peer import EXPLICIT, IMPLICIT, VERIFICATION, data_tf, echo_rq, pdu, pdv, request_pdu

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


def echo_many(port: int, count: int) -> None:
    """Open, C-ECHO and release so many associations that propose 128 contexts; runs in a process of its own."""
    contexts = [(VERIFICATION, [IMPLICIT]), *((uid, [EXPLICIT]) for uid in sorted(storage_classes()))]
    request = request_pdu(contexts[:128])
    echo = data_tf(pdv(1, 3, echo_rq()))
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port)) as peer, peer.makefile("rb") as answers:
            for sent in (request, echo, pdu(5)):
                peer.sendall(sent)
                answers.read(int.from_bytes(answers.read(6)[2:], "big"))


async def echoes(port: int, count: int) -> None:
    """Print what an association costs: the first of the process, and those that follow."""
    for number, name in ((1, "first association"), (count, "each of those that follow")):
        client = multiprocessing.get_context("spawn").Process(target=echo_many, args=(port, number))
        client.start()
        before = time.process_time()
        await asyncio.to_thread(client.join)
        print(f"{name}: {(time.process_time() - before) / number * 1e3:.2f} ms of CPU")


async def main(count: int, associations: int) -> None:
    """Print what associations cost, instances a second and CPU an instance."""
    acceptor = Acceptor(AcceptorConfig(), Discarding)
    port = await acceptor.start("127.0.0.1", 0)
    await echoes(port, 500)
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
    logging.setup("bench", level="WARNING")
    run = asyncio.run if "asyncio" in sys.argv else uvloop.run
    run(main(instances, at_once))
