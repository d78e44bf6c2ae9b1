"""Ingest beside Orthanc: the same instances, the same client, the same machine, one run after the other.

`python tests/load/bench_ingest.py [instances] [associations]` sends CT slices of 0.5 MB by DCMTK's storescu to a
standalone Osteon and to Debian's Orthanc (SQLite), TCP_NODELAY set for both sides, and waits until all are found.
It prints instances a second and CPU (user and system, of the whole process) per instance, and the ratio.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.archive import Standalone, eventually, free_port
from support.make import ct_slice, saved

NODELAY = {**os.environ, "TCP_NODELAY": "1"}


@dataclass(frozen=True)
class Server:
    """A running archive: how to reach it and which process it is."""

    aet: str
    port: int
    url: str
    pid: int


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    rate: float
    cpu_ms: float


def main() -> None:
    """Run the comparison and print it."""
    instances = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    associations = [int(sys.argv[2])] if len(sys.argv) > 2 else [1, 4]
    print(f"{instances} instances of 0.5 MB; {os.cpu_count()} cores")
    for parallel in associations:
        with tempfile.TemporaryDirectory(prefix="osteon-bench-") as name:
            folders = make_instances(Path(name), instances, parallel)
            osteon = measure(osteon_server, Path(name) / "osteon", folders)
            show(parallel, "Osteon", osteon)
            if shutil.which("Orthanc"):
                peer = measure(orthanc_server, Path(name) / "orthanc", folders)
                show(parallel, "Orthanc", peer)
                show(parallel, "ratio", Figures(osteon.rate / peer.rate, osteon.cpu_ms / peer.cpu_ms))
            else:
                print("Orthanc is not installed: apt-get install orthanc")


def show(parallel: int, name: str, figures: Figures) -> None:
    """Print a line."""
    print(f"{parallel:3} associations  {name:8} {figures.rate:8.2f}/s {figures.cpu_ms:7.2f} ms CPU an instance")


def make_instances(folder: Path, instances: int, parallel: int) -> list[Path]:
    """Write slices of 512 x 512, a series and a folder an association."""
    folders = []
    pixels = random.Random(1).randbytes(512 * 512 * 2)
    for number in range(parallel):
        target = folder / f"series{number}"
        target.mkdir()
        first = ct_slice()
        for position in range(instances // parallel):
            dataset = ct_slice(study=first.StudyInstanceUID, series=first.SeriesInstanceUID, number=position)
            dataset.Rows = dataset.Columns = 512
            dataset.PixelData = pixels
            saved(dataset, target)
        folders.append(target)
    return folders


def measure(server: Callable[[Path], AbstractContextManager[Server]], data: Path, folders: list[Path]) -> Figures:
    """Send everything and wait until it is found."""
    with server(data) as running:
        before, started = cpu_seconds(running.pid), time.perf_counter()
        clients = [
            subprocess.Popen(
                ["storescu", "-aec", running.aet, "127.0.0.1", str(running.port), "+sd", str(folder)], env=NODELAY
            )
            for folder in folders
        ]
        assert [client.wait() for client in clients] == [0] * len(clients)
        sent = sum(len(list(folder.iterdir())) for folder in folders)
        eventually(lambda: httpx.get(running.url + "/statistics").json()["CountInstances"] >= sent, seconds=120)
        seconds = time.perf_counter() - started
        return Figures(sent / seconds, 1000 * (cpu_seconds(running.pid) - before) / sent)


@contextmanager
def osteon_server(data: Path) -> Iterator[Server]:
    """A standalone Osteon."""
    process = Standalone(data, OSTEON_LOG_LEVEL="WARNING")
    archive = process.start()
    try:
        yield Server(archive.aet, archive.dicom_port, archive.url, process.pid)
    finally:
        process.stop()


@contextmanager
def orthanc_server(data: Path) -> Iterator[Server]:
    """Debian's Orthanc with SQLite."""
    data.mkdir()
    dicom, http = free_port(), free_port()
    settings = {
        "DicomPort": dicom,
        "HttpPort": http,
        "StorageDirectory": str(data),
        "IndexDirectory": str(data),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    (data / "orthanc.json").write_text(json.dumps(settings))
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(data / "orthanc.json")], env=NODELAY, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{http}"
    try:
        eventually(lambda: _answers(url))
        yield Server("ORTHANC", dicom, url, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/system").status_code == 200
    except httpx.HTTPError:
        return False


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all its threads, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
