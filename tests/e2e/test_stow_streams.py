"""STOW-RS of what is larger than memory should be, and of clients that go away, against a process of its own."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset

from support.archive.running import RunningArchive, StandaloneProcess, eventually
from support.dicom.datasets import ct_slice
from support.load.process_usage import UsageWatch
from support.packs.sealed_packs import part10
from support.query.application import multipart

pytestmark = pytest.mark.slow

_LARGE = 64 << 20
_MEMORY = 40 << 20
_CHUNK = bytes(1 << 20)
JSON = "application/dicom+json"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandaloneProcess, Path]]:
    """An archive that takes one upload at a time, and the folder of its temporary files."""
    folder = tmp_path_factory.mktemp("streams")
    temporary = folder / "tmp"
    temporary.mkdir()
    process = StandaloneProcess(folder / "data", TMPDIR=str(temporary), OSTEON_MAX_CONCURRENT_UPLOADS="1")
    process.start()
    try:
        yield process, temporary
    finally:
        assert process.stop() == 0


def _described(location: str) -> tuple[Dataset, dict[str, Any]]:
    dataset = ct_slice(Rows=8192, Columns=_LARGE // 8192 // 2)
    elements: dict[str, Any] = json.loads(dataset.to_json(bulk_data_threshold=1 << 30))
    elements["7FE00010"] = {"vr": "OW", "BulkDataURI": location}
    return dataset, elements


def _body(described: list[dict[str, Any]]) -> Iterator[bytes]:
    yield f"--B\r\nContent-Type: {JSON}\r\n\r\n{json.dumps(described)}\r\n".encode()
    for number in range(len(described)):
        yield f"--B\r\nContent-Type: application/octet-stream\r\nContent-Location: b/{number}\r\n\r\n".encode()
        yield from (_CHUNK for _ in range(_LARGE >> 20))
        yield b"\r\n"
    yield b"--B--\r\n"


def _files(datasets: list[Dataset]) -> Iterator[bytes]:
    for dataset in datasets:
        dataset.Rows, dataset.Columns = 8192, _LARGE // 8192 // 2
        dataset.PixelData = b""
        head = part10(dataset)[:-4] + (_LARGE).to_bytes(4, "little")
        yield b"--B\r\nContent-Type: application/dicom\r\n\r\n" + head
        yield from (_CHUNK for _ in range(_LARGE >> 20))
        yield b"\r\n"
    yield b"--B--\r\n"


def _store(archive: RunningArchive, body: Iterator[bytes], kind: str) -> Dataset:
    response = httpx.post(
        f"{archive.dicomweb}/studies",
        content=body,
        headers={"Content-Type": f'multipart/related; type="{kind}"; boundary=B'},
        timeout=120,
    )
    assert response.status_code == 200, response.text
    return Dataset.from_json(response.json())


def test_large_uploads_take_little_memory(running: tuple[StandaloneProcess, Path]) -> None:
    process, temporary = running
    archive = process.archive
    _store(archive, iter([multipart([part10(ct_slice())])[0].replace(b"BOUNDARY", b"B")]), "application/dicom")
    instances = _instances(archive)
    with UsageWatch({"before": process.pid}) as before:
        archive.get("/system")
    with UsageWatch({"storing": process.pid}) as storing:
        answer = _store(archive, _body([_described(f"b/{number}")[1] for number in range(2)]), JSON)
        _store(archive, _files([ct_slice() for _ in range(2)]), "application/dicom")
    assert len(answer.ReferencedSOPSequence) == 2
    assert storing.usage["storing"].anonymous - before.usage["before"].anonymous < _MEMORY
    assert _instances(archive) == instances + 4
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def _instances(archive: RunningArchive) -> int:
    count: int = archive.get("/statistics").json()["CountInstances"]
    return count


@pytest.mark.parametrize("after", [0, 3 << 20, _LARGE + (3 << 20)])
def test_a_client_that_goes_away_leaves_nothing_and_holds_nobody_up(
    running: tuple[StandaloneProcess, Path], after: int
) -> None:
    process, temporary = running
    archive = process.archive
    instances = _instances(archive)
    body = _body([_described("b/0")[1], _described("b/1")[1]])
    with socket.create_connection(("127.0.0.1", httpx.URL(archive.url).port)) as client:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nContent-Length: {3 * _LARGE}\r\n"
        client.sendall(f'{head}Content-Type: multipart/related; type="{JSON}"; boundary=B\r\n\r\n'.encode())
        sent = 0
        while sent <= after:
            client.sendall(chunk := next(body))
            sent += len(chunk)
        eventually(lambda: any(path.is_file() for path in temporary.rglob("*")) or after == 0)
    eventually(lambda: not [path for path in temporary.rglob("*") if path.is_file()])
    dataset = ct_slice()
    _store(archive, iter([multipart([part10(dataset)])[0].replace(b"BOUNDARY", b"B")]), "application/dicom")
    found = archive.get(f"/dicom-web/studies/{dataset.StudyInstanceUID}/instances").json()
    assert [one["00080018"]["Value"][0] for one in found] == [dataset.SOPInstanceUID]
    # What was complete when it went away may have been stored; what was not is not.
    assert _instances(archive) <= instances + 1 + after // _LARGE
