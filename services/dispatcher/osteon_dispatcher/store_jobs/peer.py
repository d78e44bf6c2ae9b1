"""`OrthancPeerStore`: sends resources to a peer by HTTP, to Orthanc's `/instances` or by STOW-RS."""

import asyncio
import gzip
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any, Final

import orjson

from osteon.bus.port import Bus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.objects.port import Objects
from osteon.remotes.job_params import PeerStoreParams
from osteon.remotes.port import Peer
from osteon.sending.reader import UnreadableInstance
from osteon.sending.suboperations import SubOperationResult
from osteon_dispatcher.store_jobs.files import PeerFile, PeerFiles
from osteon_dispatcher.store_jobs.peer_client import PeerAnswer, PeerClient
from osteon_dispatcher.store_jobs.send_run import SendRun
from osteon_dispatcher.store_jobs.stow import StowUploader

_AT_ONCE: Final = 4
"""Instances on their way to one peer, each on a connection of its own: a peer answers once it has stored one."""
_IN_MEMORY: Final = 4 << 20
"""Bytes of a compressed file that are not in a temporary file."""
_CHUNK: Final = 1 << 20
_FILTERED: Final = "FilteredOut"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStoreContext:
    """What the job works with. `transcode_seconds`: to wait for `imaging`."""

    index: Index
    objects: Objects
    bus: Bus
    transcode_seconds: float


async def store(run: JobRun, *, peers: PeerStoreContext) -> None:
    """Send."""
    order = PeerStoreParams.model_validate(run.job.params)
    peer = await peers.index.remotes.peer(order.peer)
    files = PeerFiles(peers.objects, peers.bus, order.transcode, peers.transcode_seconds)
    sender = StowUploader(peer, files) if peer.dicomweb else OrthancUploader(peer, files, compress=order.compress)
    await SendRun(run, peers.index, order.resources, sender.deliver).send(permissive=order.permissive)


class OrthancUploader:
    """Posts file after file to `/instances`."""

    def __init__(self, peer: Peer, files: PeerFiles, *, compress: bool) -> None:
        self._files = files
        self._compress = compress
        self._connections = [PeerClient(peer) for _ in range(_AT_ONCE)]

    async def deliver(self, instances: AsyncIterator[PlannedInstance]) -> AsyncGenerator[SubOperationResult]:
        """Yield what became of each instance, in order. Raises `PeerUnavailable`, `PeerRefused`, `Unavailable`."""
        free, sending = deque(self._connections), deque[tuple[PeerClient, asyncio.Task[SubOperationResult]]]()
        try:
            async for instance in instances:
                if not free:
                    connection, task = sending[0]
                    sent = await task
                    sending.popleft()
                    free.append(connection)
                    yield sent
                connection = free.popleft()
                sending.append((connection, asyncio.create_task(self._send(connection, instance))))
            while sending:
                sent = await sending[0][1]
                sending.popleft()
                yield sent
        finally:
            await self._stop([task for _, task in sending])

    async def _stop(self, tasks: list[asyncio.Task[SubOperationResult]]) -> None:
        for connection in self._connections:
            connection.close()
        for task in tasks:
            task.cancel()
        # What they raise is of no interest any more: the first one's error has been raised.
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, connection: PeerClient, instance: PlannedInstance) -> SubOperationResult:
        async with self._files.ready(instance) as file:
            if isinstance(file, SubOperationResult):
                return file
            try:
                answer = await self._post(connection, file)
            except UnreadableInstance as error:
                return SubOperationResult(instance, None, str(error))
        return _judged(instance, answer, file.length)

    async def _post(self, connection: PeerClient, file: PeerFile) -> PeerAnswer:
        headers = {"Content-Type": "application/dicom"}
        if not self._compress:
            async with aclosing(self._files.chunks(file)) as chunks:
                return await connection.post("/instances", headers, chunks, file.length)
        with SpooledTemporaryFile(_IN_MEMORY) as packed:
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as writer:
                async for chunk in self._files.chunks(file):
                    await asyncio.to_thread(writer.write, chunk)
            length = packed.tell()
            packed.seek(0)
            headers["Content-Encoding"] = "gzip"
            return await connection.post("/instances", headers, _chunks_of(packed), length)


async def _chunks_of(file: Any) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk


def _judged(instance: PlannedInstance, answer: PeerAnswer, length: int) -> SubOperationResult:
    if answer.status != 200:
        return SubOperationResult(instance, None, answer.problem, transient=answer.may_pass)
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return SubOperationResult(instance, None, f"the answer is not that of Orthanc's /instances: {answer.problem}")
    if isinstance(body, dict) and body.get("Status") == _FILTERED:
        return SubOperationResult(instance, None, "the peer keeps no such instances (FilteredOut)")
    return SubOperationResult(instance, Outcome(Status.SUCCESS), "", instance.sop_instance_uid, length)
