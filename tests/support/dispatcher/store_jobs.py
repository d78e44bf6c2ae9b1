"""An archive with instances, and the jobs that send them, run by hand."""

import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from osteon.archive.resources import InstanceScope
from osteon.dimse.config import Remote
from osteon.jobs.port import Job
from osteon.jobs.run import JobType
from osteon.remotes.job_params import JobParams
from osteon.remotes.port import Modality
from osteon.sending.store_sender import StoreSender
from osteon_dispatcher.job_types import JobContext, job_types
from osteon_dispatcher.settings import DispatcherBaseSettings
from support.dicom.datasets import ct_slice
from support.indexer.ports import IndexerPorts, indexer_room
from support.jobs.in_memory import FakeJobs, FakeRun

NOWHERE = Remote(aet="OSTEON", host="127.0.0.1", port=1)


class IndexWithJobs:
    """The index of a room, with jobs that a test runs."""

    def __init__(self, index: Any, jobs: FakeJobs) -> None:
        self._index, self.jobs = index, jobs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)


@dataclass
class StoreJobsArchive:
    """An archive whose jobs run when a test says so. `door` is where it takes associations."""

    room: IndexerPorts
    jobs: FakeJobs = field(default_factory=FakeJobs)
    door: Remote = NOWHERE
    packs: int = 0

    async def stored(self, number: int = 1, **attributes: Any) -> tuple[str, list[str]]:
        """Store a series; return the public identifier of its study, and its SOP Instance UIDs."""
        first = ct_slice(**attributes)
        study, series = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
        more = [ct_slice(**{**attributes, "study": study, "series": series, "number": n}) for n in range(2, number + 1)]
        self.packs += 1
        await self.room.run(await self.room.put(f"{self.packs:032x}", first, *more))
        uids = [str(each.SOPInstanceUID) for each in (first, *more)]
        async for location in self.room.index.locate(InstanceScope(sop_uids=(uids[0],))):
            return location.identity.public_study, uids
        raise AssertionError("it was not stored")

    async def submit(self, order: JobParams) -> Job:
        return await self.jobs.submit(order.TYPE, order.params(), content={"ParentResources": ["kept"]})

    async def run(self, job: Job) -> Job:
        """Run a job once, from its checkpoint; returns it as it is then, also in `jobs`."""
        run = FakeRun(self.jobs, self.jobs.all[job.id])
        await self.kinds()[job.type].work(run)
        return self.jobs.all[job.id]

    def kinds(self, **settings: Any) -> dict[str, JobType]:
        index: Any = IndexWithJobs(self.room.index, self.jobs)
        context = JobContext(
            settings=DispatcherBaseSettings(**settings), bus=self.room.bus, objects=self.room.objects, index=index,
            sender=StoreSender(self.room.objects, self.room.bus), own_acceptor=lambda: self.door,
            folder=Path(gettempdir()),
        )  # fmt: skip
        return dict(job_types(context))

    async def modality(self, port: int, **more: Any) -> Modality:
        made = replace(Modality(name="modality", aet="MODALITY", host="127.0.0.1", port=port), **more)
        await self.room.index.remotes.put_modality(made)
        return made


@asynccontextmanager
async def sending_world(folder: Path) -> AsyncIterator[StoreJobsArchive]:
    """Make one below `folder`."""
    async with indexer_room(folder) as room:
        yield StoreJobsArchive(room)


@dataclass
class HttpPeer:
    """A peer that answers as a test says: by default as Orthanc's `/instances`."""

    port: int = 0
    got: list[tuple[str, Message, bytes]] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self) -> tuple[int, bytes]:
        return self.answers.pop(0) if self.answers else (200, json.dumps({"Status": "Success"}).encode())


@contextmanager
def http_peer(tls: ssl.SSLContext | None = None) -> Iterator[HttpPeer]:
    """Run one on a free port."""
    peer = HttpPeer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                peer.got.append((self.path, self.headers, body))
                peer.connections.add(self.client_address)
                status, answer = peer.answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    peer.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
