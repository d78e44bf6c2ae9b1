"""`OrthancPeerStore`: sends resources to a peer by HTTP, to Orthanc's `/instances` or by STOW-RS."""

import asyncio
import gzip
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any, Final

import orjson

from osteon.bus.port import Bus
from osteon.contracts.retrieve import PlannedInstance
from osteon.dimse.handler import Outcome
from osteon.dimse.status import Status
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.objects.port import Bytes, Objects
from osteon.remotes.job_params import PeerStoreParams
from osteon.remotes.port import Peer
from osteon.sending.reader import UnreadableInstance
from osteon.sending.suboperations import SubOperationResult
from osteon_dispatcher.peer_client import PeerAnswer, PeerClient, PeerPolicy, open_peer
from osteon_dispatcher.store_jobs.files import PeerFile, PeerFiles
from osteon_dispatcher.store_jobs.send_run import SendRun
from osteon_dispatcher.store_jobs.stow import StowUploader

_CONCURRENCY: Final = 4
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
    policy: PeerPolicy


async def store(run: JobRun, *, context: PeerStoreContext) -> None:
    """Send."""
    params = PeerStoreParams.model_validate(run.job.params)
    known = await context.index.remotes.peer(params.peer)
    peer = replace(known, headers=(*known.headers, *params.headers.items()))
    files = PeerFiles(context.objects, context.bus, params.transcode, context.transcode_seconds)
    uploader = (
        StowUploader(peer, files, context.policy)
        if peer.dicomweb
        else OrthancUploader(peer, files, context.policy, compress=params.compress)
    )
    await SendRun(run, context.index, params.resources, uploader.deliver).send(permissive=params.permissive)


class OrthancUploader:
    """Posts file after file to `/instances`."""

    def __init__(self, peer: Peer, files: PeerFiles, policy: PeerPolicy, *, compress: bool) -> None:
        self._peer = peer
        self._policy = policy
        self._files = files
        self._compress = compress

    async def deliver(self, instances: AsyncIterator[PlannedInstance]) -> AsyncGenerator[SubOperationResult]:
        """Yield what became of each instance, in order. Raises `PeerUnavailable`, `PeerRefused`, `Unavailable`."""
        async with open_peer(self._peer, self._policy, connections=_CONCURRENCY) as client:
            uploads = deque[asyncio.Task[SubOperationResult]]()
            try:
                async for instance in instances:
                    if len(uploads) == _CONCURRENCY:
                        yield await uploads[0]
                        uploads.popleft()
                    uploads.append(asyncio.create_task(self._upload(client, instance)))
                while uploads:
                    yield await uploads[0]
                    uploads.popleft()
            finally:
                for upload in uploads:
                    upload.cancel()
                # What they raise does not matter any more: the first one's error has been raised.
                await asyncio.gather(*uploads, return_exceptions=True)

    async def _upload(self, client: PeerClient, instance: PlannedInstance) -> SubOperationResult:
        async with self._files.prepare(instance) as file:
            if isinstance(file, SubOperationResult):
                return file
            try:
                answer = await self._post(client, file)
            except UnreadableInstance as error:
                return SubOperationResult(instance, None, str(error))
        return _result_of(instance, answer, file.length)

    async def _post(self, client: PeerClient, file: PeerFile) -> PeerAnswer:
        headers = {"Content-Type": "application/dicom"}
        if not self._compress:
            return await client.post("/instances", headers, partial(self._files.chunks, file), file.length)
        with SpooledTemporaryFile(_IN_MEMORY) as packed:
            with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as writer:
                async for chunk in self._files.chunks(file):
                    await asyncio.to_thread(writer.write, chunk)
            headers["Content-Encoding"] = "gzip"
            return await client.post("/instances", headers, partial(_chunks_of, packed), packed.tell())


async def _chunks_of(file: Any) -> AsyncGenerator[Bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk


def _result_of(instance: PlannedInstance, answer: PeerAnswer, length: int) -> SubOperationResult:
    if answer.status != 200:
        return SubOperationResult(instance, None, answer.problem, transient=answer.is_retryable)
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return SubOperationResult(instance, None, f"the answer is not that of Orthanc's /instances: {answer.problem}")
    if isinstance(body, dict) and body.get("Status") == _FILTERED:
        return SubOperationResult(instance, None, "the peer does not keep such instances (FilteredOut)")
    return SubOperationResult(instance, Outcome(Status.SUCCESS), "", instance.sop_instance_uid, length)
