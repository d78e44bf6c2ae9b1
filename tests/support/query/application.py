"""The HTTP door over the embedded ports, with an indexer beside it: requests go in by httpx, without a socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI
from pydicom import Dataset

from osteon.bus.memory import MemoryBus
from osteon.contracts.topology import COMPARISONS, INDEXER
from osteon.index.sql import SqlIndex
from osteon.objects.folder import FolderObjects
from osteon.sending.transcoder import Transcoder
from osteon_indexer.comparison import VersionComparer
from osteon_indexer.handlers import compare_conflicts, index_packs
from osteon_query.app import create_app
from osteon_query.app_state import AppState
from osteon_query.archives.writer import ArchiveWriter
from osteon_query.images.native_drawer import NativeDrawer
from osteon_query.images.render_client import RenderClient
from osteon_query.packs.frames import FrameLocator
from osteon_query.packs.instance_reader import LOSSY
from osteon_query.packs.sidecars import Sidecars
from osteon_query.packs.upload_slots import UploadSlots
from osteon_query.packs.uploads import Uploads
from osteon_query.settings import QueryBaseSettings
from support.index.stored_packs import sqlite_url
from support.packs.sealed_packs import part10

BASE = "http://archive.test"
WEB = "/dicom-web"


class QuerySettings(QueryBaseSettings):
    """What the door reads; limits are small."""

    drain_seconds: float = 1.0
    max_upload_bytes: int = 64 << 20
    max_concurrent_uploads: int = 8
    query_limit: int = 1000
    upload_index_timeout_seconds: float = 30.0
    remote_answers: int = 1000
    remote_find_seconds: float = 30.0
    render_concurrency: int = 8
    render_seconds: float = 30.0
    prefetch_thumbnails: bool = False


@dataclass
class RunningQuery:
    """A door and what is behind it."""

    app: FastAPI
    http: httpx.AsyncClient
    bus: MemoryBus
    index: SqlIndex
    objects: FolderObjects
    folder: Path
    settings: QuerySettings = field(default_factory=QuerySettings)

    @property
    def state(self) -> AppState:
        """What the routes work with."""
        state: AppState = self.app.state.app_state
        return state

    def change(self, **fields: Any) -> None:
        """Let the routes work with other ports or limits."""
        self.app.state.app_state = replace(self.state, **fields)

    async def stow(self, *datasets: Dataset, study: str = "") -> httpx.Response:
        """Store data sets by STOW-RS; fails the test unless all were stored."""
        body, kind = multipart([part10(dataset) for dataset in datasets])
        path = f"{WEB}/studies/{study}".rstrip("/")
        response = await self.http.post(path, content=body, headers={"Content-Type": kind})
        assert response.status_code == 200, response.text
        return response

    async def json(self, path: str, **arguments: Any) -> Any:
        """GET JSON; fails the test on an HTTP error."""
        response = await self.http.get(path, **arguments)
        assert response.status_code == 200, f"{response.status_code} {response.text}"
        return response.json()


@asynccontextmanager
async def door(
    folder: Path, settings: QuerySettings | None = None, *, indexing: bool = True
) -> AsyncIterator[RunningQuery]:
    """Run the door on SQLite, a folder and the in-memory bus."""
    settings = settings or QuerySettings()
    index = SqlIndex(sqlite_url(folder / "index.sqlite"))
    objects, bus = FolderObjects(folder / "objects"), MemoryBus()
    uploading = folder / "uploading"
    uploading.mkdir()
    await index.start()
    await bus.start()
    await bus.declare(INDEXER)
    try:
        if indexing:
            comparer = VersionComparer(objects, bus, timeout=30)
            compare = partial(compare_conflicts, objects=objects, index=index, bus=bus, comparer=comparer)
            await bus.consume(COMPARISONS, compare)
            handler = partial(index_packs, objects=objects, index=index, bus=bus)
            await bus.consume_batches(INDEXER, handler, size=50, linger=0.001)
        sidecars = Sidecars(objects, memory=16 << 20)
        uploads = Uploads(
            index=index,
            objects=objects,
            bus=bus,
            wait=settings.upload_index_timeout_seconds,
            folder=uploading,
            slots=UploadSlots(settings.max_concurrent_uploads, settings.max_uploads_per_client),
            max_files=settings.max_upload_files,
            pack_size=settings.pack_size_bytes,
        )
        await uploads.start()
        transcoder = Transcoder(objects, bus, LOSSY, 5.0)
        locator = FrameLocator()
        drawer = NativeDrawer(objects, sidecars, locator, memory=settings.render_memory_bytes)
        pictures = RenderClient(
            bus,
            objects,
            at_once=settings.render_concurrency,
            seconds=settings.render_seconds,
            drawer=drawer,
        )
        ports = AppState(
            settings=settings,
            bus=bus,
            index=index,
            totals=index,
            change_log=index,
            conflicts=index,
            reconciliation=index,
            commitments=index.commitments,
            jobs=index.jobs,
            remotes=index.remotes,
            remote_queries=index.queries,
            rules=index.rules,
            circuits=index.circuits,
            user_data=index.user_data,
            objects=objects,
            sidecars=sidecars,
            uploads=uploads,
            transcoder=transcoder,
            archives=ArchiveWriter(
                index=index, objects=objects, sidecars=sidecars, transcoder=transcoder, folder=uploading
            ),
            archive_slots=asyncio.Semaphore(settings.max_concurrent_archives),
            pictures=pictures,
            frame_locator=locator,
        )
        with application(ports) as app:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
                yield RunningQuery(app, http, bus, index, objects, folder, settings)
    finally:
        await bus.close(grace=timedelta(seconds=5).total_seconds())
        await index.close()


def without_drawer(archive: RunningQuery) -> None:
    """Let `imaging` make all pictures."""
    limits = {"at_once": archive.settings.render_concurrency, "seconds": archive.settings.render_seconds}
    archive.change(pictures=RenderClient(archive.bus, archive.objects, **limits))


@contextmanager
def application(ports: AppState) -> Iterator[FastAPI]:
    """Lend an application: to look at its routes for the first time takes longer than most tests."""

    async def broker() -> None:
        await app.state.app_state.bus.check()

    used_before = _idle.pop() if _idle and not ports.settings.cors_origins else None
    app = used_before or create_app(ports, {"broker": broker})
    app.state.app_state = ports
    yield app
    if not ports.settings.cors_origins:
        _idle.append(app)


_idle: list[FastAPI] = []


def short_uid() -> str:
    """Return a new UID that leaves room for a suffix."""
    return f"2.25.{uuid4().int}"


def multipart(parts: Sequence[bytes], *, kind: str = "application/dicom") -> tuple[bytes, str]:
    """Encode parts as multipart/related; returns the body and its Content-Type."""
    head = f"--BOUNDARY\r\nContent-Type: {kind}\r\n\r\n".encode()
    body = b"".join(head + part + b"\r\n" for part in parts) + b"--BOUNDARY--\r\n"
    return body, f'multipart/related; type="{kind}"; boundary=BOUNDARY'


def split_multipart(response: httpx.Response) -> list[tuple[str, bytes]]:
    """Return (Content-Type, content) of each part of an answer."""
    boundary = response.headers["Content-Type"].partition("boundary=")[2].strip('"').encode()
    pieces = response.content.split(b"--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    parts = []
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        assert int(headers.get("Content-Length", len(content))) == len(content)
        parts.append((headers["Content-Type"], content))
    return parts
