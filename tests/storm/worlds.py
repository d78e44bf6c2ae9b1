"""The two forms of the archive as a storm sees them: processes, links between them, a disk, and doors for load."""

import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol, Self

from osteon_local.cluster import Cluster, Parts
from osteon_local.part import free_port
from osteon_local.process import Process
from storm.plan import Targets
from support.archive.running import StandaloneProcess, eventually
from support.bus.dead_letters import dead_letters
from support.services.tcp_proxy import TcpProxy

SETTINGS = {
    "OSTEON_LOG_LEVEL": "INFO",
    "OSTEON_LOG_FORMAT": "json",
    "OSTEON_PACK_SECONDS": "0.5",
    "OSTEON_UPLOAD_INDEX_TIMEOUT_SECONDS": "15",
    "OSTEON_REPUBLISH_SECONDS": "5",
    "OSTEON_SWEEP_HOURS": "0.003",
    "OSTEON_SWEEP_MIN_AGE_SECONDS": "10",
}
_MEGABYTE = 1 << 20
REPLICAS = {"ingress": 2, "writer": 2, "indexer": 2, "query": 2}


class FaultTarget(Protocol):
    """A process that can be hit."""

    def kill(self) -> None:
        """SIGKILL."""

    def pause(self) -> None:
        """SIGSTOP."""

    def resume(self) -> None:
        """SIGCONT."""


class SmallDisk:
    """A tmpfs at a folder, which can be filled; `real` says whether it could be mounted (only root can)."""

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self.folder = folder
        self.real = False
        self._size = megabytes
        self._filler = folder / "filler"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self._size}m,mode=755", "osteon-storm", str(self.folder)]
        if shutil.which("mount"):
            self.real = subprocess.run(mount, check=False, capture_output=True).returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.real:
            subprocess.run(["umount", str(self.folder)], check=True)

    def fill(self, share: float = 1.0) -> None:
        """Leave no room at all, or use as much of it."""
        total, _, free = shutil.disk_usage(self.folder)
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            for _ in range(int((free - (1 - share) * total) / _MEGABYTE) + (share == 1.0)):
                file.write(bytes(_MEGABYTE))

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)


class StormArchive(ABC):
    """An archive that runs inside a `with` statement."""

    name: str
    spool: Path
    disk: SmallDisk
    processes: dict[str, FaultTarget]
    links: dict[str, TcpProxy]
    dicom_ports: list[int]
    urls: list[str]
    doors: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self._stack = ExitStack()

    @property
    def targets(self) -> Targets:
        """What a plan may name."""
        return Targets(tuple(self.processes), tuple(self.links), self.doors)

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self) -> None:
        """Start everything on `_stack`."""

    @abstractmethod
    def restart(self, name: str) -> None:
        """Start a process that was killed."""

    @abstractmethod
    def pid(self, name: str) -> int:
        """Return the process id of a service."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether every service says that it is."""

    @abstractmethod
    def parked(self) -> list[str]:
        """Return what is in the dead-letter queue."""

    @abstractmethod
    def waiting(self) -> list[str]:
        """Return the queues that hold messages."""

    @abstractmethod
    def logs(self) -> list[Path]:
        """Return the log files of the services."""


class ClusterWorld(StormArchive):
    """Every service as processes on RabbitMQ, PostgreSQL and SeaweedFS, all of them behind proxies."""

    name = "cluster"
    doors = ("ingress-0", "ingress-1")

    def __init__(self, folder: Path, replicas: Mapping[str, int] = REPLICAS) -> None:
        super().__init__(folder)
        self._replicas = replicas

    def _start(self) -> None:
        self.temporary.mkdir(parents=True)
        self.spool = self.folder / "spool"
        self.disk = self._stack.enter_context(SmallDisk(self.spool, megabytes=1024))
        parts = Parts.in_folder(self.folder)
        ports = {"broker": parts.rabbitmq.port, "database": parts.postgres.port, "objects": parts.seaweedfs.port}
        self.links = {name: self._stack.enter_context(TcpProxy(port)) for name, port in ports.items()}
        through = {
            "OSTEON_AMQP_URL": parts.rabbitmq.url.replace(str(ports["broker"]), str(self.links["broker"].port)),
            "OSTEON_DATABASE_URL": parts.postgres.url.replace(str(ports["database"]), str(self.links["database"].port)),
            "OSTEON_S3_ENDPOINT": f"127.0.0.1:{self.links['objects'].port}",
        }
        settings = SETTINGS | through | {"TMPDIR": str(self.temporary)}
        self.cluster = Cluster(self.folder, parts=parts, replicas=self._replicas, settings=settings)
        for name in self.doors:
            proxy = TcpProxy(self.cluster.replicas[name].ports["dicom"])
            self.links[f"modalities-{name}"] = self._stack.enter_context(proxy)
        self.dicom_ports = [self.links[f"modalities-{name}"].port for name in self.doors]
        self.urls = [
            f"http://127.0.0.1:{r.ports['http']}" for name, r in self.cluster.replicas.items() if "http" in r.ports
        ]
        self._stack.enter_context(self.cluster)
        services = {name: replica.process for name, replica in self.cluster.replicas.items()}
        self.processes = {**services, **{part.name: part for part in parts}}

    def restart(self, name: str) -> None:
        """Start a replica or a part again."""
        for part in self.cluster.parts:
            if part.name == name:
                part.launch()
                return
        self.cluster.replicas[name].process.start()

    def pid(self, name: str) -> int:
        """Return the process id of a replica."""
        return self.cluster.replicas[name].process.pid

    def ready(self) -> bool:
        """Ask every replica; one that ended is an error."""
        return all(replica.ready for replica in self.cluster.replicas.values())

    def parked(self) -> list[str]:
        """Ask the broker."""
        return dead_letters(self.cluster.parts.rabbitmq.url)

    def waiting(self) -> list[str]:
        """Ask the broker."""
        lines = self.cluster.parts.rabbitmq.ctl("list_queues", "name", "messages", "--no-table-headers").splitlines()
        return [line for line in lines if line.split()[-1] not in ("0", "messages")]

    def logs(self) -> list[Path]:
        """One a replica."""
        return sorted(self.cluster.logs.glob("*.log"))


class StandaloneWorld(StormArchive):
    """`osteon standalone`."""

    name = "standalone"
    doors = ("standalone",)

    def _start(self) -> None:
        self.temporary.mkdir(parents=True)
        self.disk = self._stack.enter_context(SmallDisk(self.folder / "data", megabytes=1024))
        self.spool = self.folder / "data" / "spool"
        self._log = self.folder / "standalone.log"
        settings = SETTINGS | {"TMPDIR": str(self.temporary), "OSTEON_DICOM_PORT": str(free_port())}
        http = free_port()
        environment = StandaloneProcess.environment(self.disk.folder, settings | {"OSTEON_HTTP_PORT": str(http)})
        command = [sys.executable, "-m", "osteon.cli", "standalone"]
        self._process = Process(command, log=self._log, env=environment)
        proxy = self._stack.enter_context(TcpProxy(int(settings["OSTEON_DICOM_PORT"])))
        self.links = {"modalities": proxy}
        self.dicom_ports, self.urls = [proxy.port], [f"http://127.0.0.1:{http}"]
        self.processes = {"standalone": self._process}
        self._stack.callback(self._process.stop, 30.0)
        self._process.start()
        eventually(self.ready, seconds=60)

    def restart(self, name: str) -> None:
        """Start it again."""
        self._process.start()

    def pid(self, name: str) -> int:
        """Return its process id."""
        return self._process.pid

    def ready(self) -> bool:
        """Ask it."""
        try:
            with urllib.request.urlopen(f"{self.urls[0]}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def parked(self) -> list[str]:
        """Its bus parks in the log only."""
        return [line for line in self._log.read_text().splitlines() if '"message parked"' in line]

    def waiting(self) -> list[str]:
        """Its queues can not be seen from outside; the spool is empty when they are."""
        return []

    def logs(self) -> list[Path]:
        """The one."""
        return [self._log]
