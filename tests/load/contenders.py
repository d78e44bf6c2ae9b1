"""The archives that are compared: started afresh in a folder, each with what a measurement has to know of it."""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

from osteon_local.cluster import Cluster
from osteon_local.part import free_port
from support.archive.running import StandaloneProcess, eventually

NODELAY = {**os.environ, "TCP_NODELAY": "1"}
"""Without it DCMTK, and with it Orthanc, waits 40 ms for the other side again and again."""
_http = httpx.Client(timeout=60, limits=httpx.Limits(keepalive_expiry=2))  # the server ends idle connections after 5 s
_SIDECARS = "SELECT coalesce(sum(size - sidecar_offset), 0) FROM packs"
PARTS = ("rabbitmq", "postgres", "seaweedfs")


@dataclass(frozen=True)
class BenchServer:
    """A running archive. `processes`: process ids by the name of what each does."""

    name: str
    aet: str
    ports: list[int]
    url: str
    processes: Mapping[str, int]
    stored: Callable[[], tuple[int, int]]
    """Bytes of the database and of the sidecars at this moment."""

    def instances(self) -> int:
        """Return how many instances can be found."""
        return int(_http.get(self.url + "/statistics").json()["CountInstances"])

    def wait_for(self, count: int) -> float:
        """Wait until so many instances are found; returns the moment (`time.perf_counter`)."""
        began = time.perf_counter()
        while self.instances() < count:
            waited = time.perf_counter() - began
            assert waited < 300, f"{self.name}: {self.instances()} of {count} instances are found"
            time.sleep(max(0.03, waited / 30))  # asking costs the server CPU as well
        return time.perf_counter()


@contextmanager
def standalone(data: Path) -> Iterator[BenchServer]:
    """Osteon in one process."""
    process = StandaloneProcess(data, OSTEON_LOG_LEVEL="WARNING")

    def stored() -> tuple[int, int]:
        with closing(sqlite3.connect(data / "index.sqlite")) as connection:
            (sidecars,) = connection.execute(_SIDECARS).fetchone()
        return _size(data.glob("index.sqlite*")), int(sidecars)

    try:
        archive = process.start()
        yield BenchServer(
            "standalone", archive.aet, [archive.dicom_port], archive.url, {"standalone": process.pid}, stored
        )
    finally:
        process.stop()


@contextmanager
def cluster(data: Path, **replicas: int) -> Iterator[BenchServer]:
    """Osteon's services, each a process, with RabbitMQ, PostgreSQL and SeaweedFS."""
    data.mkdir(mode=0o755)
    with Cluster(data, replicas=replicas, settings={"OSTEON_LOG_LEVEL": "WARNING"}) as running:
        services = {name: replica.process.pid for name, replica in running.replicas.items()}
        parts = {part.name: part.process.pid for part in running.parts}
        ports = [replica.ports["dicom"] for replica in running.replicas.values() if "dicom" in replica.ports]

        def stored() -> tuple[int, int]:
            with psycopg.connect(running.parts.postgres.url.replace("+psycopg", "")) as connection:
                row = connection.execute(f"SELECT pg_database_size(current_database()), ({_SIDECARS})").fetchone()
            return (int(row[0]), int(row[1])) if row else (0, 0)

        yield BenchServer("cluster", "OSTEON", ports, running.url, services | parts, stored)


@contextmanager
def orthanc(data: Path, plugins: Sequence[str] = ()) -> Iterator[BenchServer]:
    """Debian's Orthanc with SQLite and every other setting at its default; `plugins` are files of shared objects.

    So it syncs the file of each instance before it answers (SyncStorageArea), and not its index (SYNCHRONOUS=NORMAL).
    """
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
        "Plugins": list(plugins),
    }
    (data / "orthanc.json").write_text(json.dumps(settings))
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(data / "orthanc.json")], env=NODELAY, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{http}"
    try:
        eventually(lambda: _answers(url))
        yield BenchServer(
            "orthanc", "ORTHANC", [dicom], url, {"orthanc": process.pid}, lambda: (_size(data.glob("index*")), 0)
        )
    finally:
        process.terminate()
        process.wait(60)


STARTERS = {"standalone": standalone, "cluster": cluster, "orthanc": orthanc}


@contextmanager
def deleted(folder: Path) -> Iterator[Path]:
    """Delete a folder afterwards."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started(name: str, folder: Path) -> Iterator[BenchServer]:
    """Start one by name, in a folder that is deleted afterwards."""
    with deleted(folder / name) as data, STARTERS[name](data) as server:
        yield server


def _size(paths: Iterator[Path]) -> int:
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/system").status_code == 200
    except httpx.HTTPError:
        return False
