"""What a client of HTTP sees of a stream that breaks, and what the archive does when a client goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

from osteon.objects.folder import FolderObjects
from osteon.runtime import http_server
from support.dicom.datasets import ct_slice
from support.imaging.in_process import InProcessImaging, nothing_below
from support.query.application import WEB, RunningQuery

pytestmark = pytest.mark.slow

ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ZIP = "application/zip"


@asynccontextmanager
async def served(archive: RunningQuery) -> AsyncIterator[int]:
    """Serve the door on a port."""
    async with http_server(archive.app, "127.0.0.1", 0, grace=1.0) as port:
        yield port


async def large_series(archive: RunningQuery, count: int, *, size: int = 1 << 20) -> Dataset:
    """Store a series of instances of `size` bytes and return one that is like them."""
    series = generate_uid()
    for number in range(count):
        shape = {"Rows": size >> 11, "Columns": 1 << 10}
        await archive.stow(ct_slice(study=series, series=series, number=number, PixelData=bytes(size), **shape))
    return ct_slice(study=series, series=series)


@pytest.mark.parametrize(("below", "accept"), [("", ANY), ("", ZIP)])
async def test_an_answer_that_can_not_be_ended_is_cut_and_never_looks_complete(
    archive: RunningQuery, below: str, accept: str
) -> None:
    dataset = await large_series(archive, 4)
    last = max((archive.folder / "objects").rglob("*.tar"))
    last.write_bytes(last.read_bytes()[:2000])
    async with served(archive) as port:
        url = f"http://127.0.0.1:{port}{WEB}/studies/{dataset.StudyInstanceUID}{below}"
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(url, headers={"Accept": accept})


async def test_a_pack_that_the_store_lost_is_a_server_error_when_nothing_was_sent_yet(archive: RunningQuery) -> None:
    dataset = await large_series(archive, 1)
    for tar in (archive.folder / "objects").rglob("*.tar"):
        tar.unlink()
    async with served(archive) as port, httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}{WEB}/studies/{dataset.StudyInstanceUID}")
    assert answer.status_code == 500
    assert ".tar" in answer.json()["detail"]


class Noting:
    """Counts what is read, and which streams are open."""

    def __init__(self, objects: FolderObjects) -> None:
        self._stream = objects.stream
        self.read = 0
        self.open = 0

    async def stream(self, key: str, offset: int = 0, length: int | None = None) -> AsyncIterator[memoryview]:
        """Pass chunks on."""
        self.open += 1
        try:
            async for chunk in self._stream(key, offset, length):
                self.read += len(chunk)
                yield chunk
        finally:
            self.open -= 1


async def settled(noting: Noting) -> int:
    """Wait until nothing is read any more; return how much was."""
    before = -1
    while noting.read != before:
        before = noting.read
        await asyncio.sleep(0.2)
    return before


@pytest.mark.parametrize("accept", [ANY, ZIP])
async def test_a_client_that_does_not_read_costs_some_mib_and_one_that_goes_away_nothing(
    archive: RunningQuery, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    dataset = await large_series(archive, 2, size=20 << 20)
    noting = Noting(archive.objects)
    monkeypatch.setattr(archive.objects, "stream", noting.stream)
    async with served(archive) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        path = f"{WEB}/studies/{dataset.StudyInstanceUID}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await settled(noting) < 30 << 20
        writer.transport.abort()
        async with asyncio.timeout(60):
            while noting.open:
                await asyncio.sleep(0.05)
        assert noting.read < 30 << 20


async def test_what_was_transcoded_for_a_client_that_went_away_is_deleted(
    archive: RunningQuery, pixels: InProcessImaging, tmp_path: Path
) -> None:
    dataset = await large_series(archive, 40)
    async with served(archive) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        accept = ANY.replace("*", ImplicitVRLittleEndian)
        path = f"{WEB}/studies/{dataset.StudyInstanceUID}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.transport.abort()
        await nothing_below(archive.objects, "cache/transcoded/")
        assert len(pixels.transcoded) < 40
