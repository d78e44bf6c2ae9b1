"""`DicomWebWadoRetrieveClient`: fetches resources from a DICOMweb server by WADO-RS (PS3.18 10.4) and stores them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

from osteon.contracts.packs import Origin
from osteon.dicom.identity import Identity
from osteon.dicom.part10 import read_part10, require_prefix
from osteon.dicom.peek import peek_identity
from osteon.errors import Invalid
from osteon.index.port import Index
from osteon.jobs.run import JobRun
from osteon.logging import get_logger
from osteon.multipart import MultipartEvent, PartEnd, PartStart, multipart_events
from osteon.packs.pack_writer import Part10File
from osteon.remotes.job_params import WadoRetrieveParams
from osteon.remotes.port import Peer
from osteon_dispatcher.pack_delivery import NewPack, PackDelivery
from osteon_dispatcher.peer_client import PeerClient, PeerPolicy, PeerRefused, open_peer

_ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_BOUNDARY: Final = re.compile(r"""boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)
_PACK_BYTES: Final = 64 << 20
_PACK_FILES: Final = 500
_LISTED: Final = 10_000
"""Instances that the job's content lists."""
_LEVELS: Final = ("studies", "series", "instances")
log = get_logger(__name__)


class NotRetrieved(Invalid):
    """What the server sent cannot be stored; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WadoRetrieveContext:
    """What the job works with: `folder` is for files in flight."""

    index: Index
    packs: PackDelivery
    policy: PeerPolicy
    folder: Path


async def retrieve(run: JobRun, *, context: WadoRetrieveContext) -> None:
    """Retrieve what is left of the resources, one after the other.

    A resource that was interrupted is fetched again: what is stored already is a duplicate then. Raises
    `PeerUnavailable` to be run again, `PeerRefused` and `NotRetrieved`.
    """
    params = WadoRetrieveParams.model_validate(run.job.params)
    peer = await context.index.remotes.peer(params.peer)
    done = int(run.job.checkpoint.get("done", 0))
    async with open_peer(peer, context.policy) as client:
        for number, resource in enumerate(params.resources[done:], done + 1):
            fetched = _Fetch(run.job.id, peer, context)
            await fetched.fetch(client, resource, params)
            known = list(run.job.content.get("ReceivedInstancesIds", []))
            content = {
                **run.job.content,
                "ReceivedInstancesCount": run.job.content.get("ReceivedInstancesCount", 0) + len(fetched.instances),
                "ReceivedInstancesIds": [*known, *fetched.instances][:_LISTED],
                "NetworkUsageMB": run.job.content.get("NetworkUsageMB", 0) + fetched.received // (1 << 20),
            }
            progress = 100 * number // len(params.resources)
            await run.save(progress=progress, content=content, checkpoint={"done": number})


@dataclass(slots=True)
class _Series:
    """Files of one series that wait to be packed."""

    files: dict[str, Path] = field(default_factory=dict)
    size: int = 0


class _Fetch:
    """One request, whose parts are gathered by series; `instances` are Orthanc's identifiers."""

    def __init__(self, correlation_id: str, peer: Peer, context: WadoRetrieveContext) -> None:
        self._correlation_id = correlation_id
        self._host = urlsplit(peer.url).hostname or ""
        self._context = context
        self._open: dict[tuple[str, str], _Series] = {}
        self._stored: list[str] = []
        self._folder = context.folder
        self._size = self._files = 0
        self.instances: list[str] = []
        self.received = 0

    async def fetch(self, client: PeerClient, resource: tuple[str, ...], params: WadoRetrieveParams) -> None:
        """Request a resource, and store all parts of the answer. Returns once they are indexed."""
        path = "".join(f"/{level}/{uid}" for level, uid in zip(_LEVELS, resource, strict=False))
        headers = {"Accept": _ACCEPT, **params.headers}
        with TemporaryDirectory(prefix="wado-", dir=self._context.folder) as name:
            self._folder = Path(name)
            async with client.download(path, headers, params.parameters) as answer:
                client.check(answer)
                found = _BOUNDARY.search(answer.content_type)
                if found is None or not answer.content_type.lower().startswith("multipart/"):
                    raise PeerRefused(f"{path} came as {answer.content_type[:80] or 'nothing'}, not as multipart")
                boundary = (found[1] or found[2]).encode("latin-1", "replace")
                async with aclosing(multipart_events(answer.chunks, boundary)) as events:
                    async for event in events:
                        assert isinstance(event, PartStart)
                        await self._take(events)
            for key in list(self._open):
                await self._pack(key)
        for pack_id in self._stored:
            await self._context.packs.wait_for_index(pack_id)
        if not self.instances:
            raise NotRetrieved(f"{path}: the server sent no instance")

    async def _take(self, events: AsyncIterator[MultipartEvent]) -> None:
        """Write a part to a file, and put it with its series."""
        self._files += 1
        path = self._folder / f"{self._files}.dcm"
        with await asyncio.to_thread(path.open, "xb") as file:
            async for piece in events:
                if isinstance(piece, PartEnd):
                    break
                assert isinstance(piece, memoryview)
                await asyncio.to_thread(file.write, piece)
            size = file.tell()
        self.received += size
        try:
            identity = await asyncio.to_thread(_identify, path)
        except Invalid as error:
            raise NotRetrieved(f"a part of the answer is not a DICOM file that can be stored: {error}") from error
        key = identity.study_uid, identity.series_uid
        if identity.sop_uid in self._open.get(key, _Series()).files:
            await self._pack(key)
        series = self._open.setdefault(key, _Series())
        series.files[identity.sop_uid] = path
        series.size += size
        self._size += size
        self.instances.append(identity.public_instance)
        if series.size >= _PACK_BYTES or len(series.files) >= _PACK_FILES:
            await self._pack(key)
        elif self._size >= 4 * _PACK_BYTES:
            await self._pack(max(self._open, key=lambda each: self._open[each].size))

    async def _pack(self, key: tuple[str, str]) -> None:
        series = self._open.pop(key)
        made = NewPack(
            correlation_id=self._correlation_id,
            study_uid=key[0],
            series_uid=key[1],
            origin=Origin.HTTP,
            received_at=datetime.now(UTC),
            remote_host=self._host,
        )
        files = [Part10File(uid, path) for uid, path in series.files.items()]
        self._stored.append(await self._context.packs.store(made, files, self._folder))
        self._size -= series.size
        await asyncio.to_thread(_unlink, list(series.files.values()))


def _identify(path: Path) -> Identity:
    with path.open("rb") as opened:
        file = opened.read(_PACK_BYTES)
    require_prefix(file)
    meta = read_part10(file)
    identity = peek_identity(memoryview(file)[meta.data_set_offset :], meta.transfer_syntax_uid, complete=True)
    assert identity is not None
    return identity


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
