"""Every service as its own process on this host, with RabbitMQ, PostgreSQL and SeaweedFS."""

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from osteon_local.part import Part, PartError, Startable, free_port
from osteon_local.postgres import Postgres
from osteon_local.process import Process
from osteon_local.rabbitmq import RabbitMQ
from osteon_local.seaweedfs import SeaweedFS

SERVICES = ("writer", "indexer", "imaging", "dispatcher", "query", "ingress")
"""In the order in which they start; they stop in the opposite order, so that what listens closes first."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The servers that a cluster uses, and what is its own on them."""

    rabbitmq: RabbitMQ
    postgres: Postgres
    seaweedfs: SeaweedFS
    database_url: str = ""
    bucket: str = "osteon"

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """Return servers that keep their data in a folder."""
        return cls(RabbitMQ(folder / "rabbitmq"), Postgres(folder / "postgres"), SeaweedFS(folder / "seaweedfs"))

    def __iter__(self) -> Iterator[Part]:
        yield from (self.rabbitmq, self.postgres, self.seaweedfs)


@dataclass(slots=True)
class Replica:
    """One process of a service."""

    name: str
    health_port: int
    process: Process
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class Cluster(Startable):
    """Starts the parts that do not run yet and the services; stops what it started."""

    def __init__(
        self,
        data: Path,
        *,
        parts: Parts | None = None,
        dicom_port: int = 0,
        http_port: int = 0,
        replicas: Mapping[str, int] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Ports of 0 are free ones; further replicas of `ingress` and `query` always get free ones.

        `settings` are environment variables for every service, on top of what the cluster sets.
        """
        unknown = set(replicas or {}) - set(SERVICES)
        if unknown:
            raise PartError(f"no such service: {', '.join(sorted(unknown))} (there are: {', '.join(SERVICES)})")
        self.data = data.resolve()
        self.logs = self.data / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.parts = parts or Parts.in_folder(self.data)
        self._started_parts: list[Part] = []
        self._settings = dict(settings or {})
        first = {"dicom": dicom_port or free_port(), "http": http_port}
        self._own_dicom_address = f"127.0.0.1:{first['dicom']}"
        self.replicas = {
            f"{service}-{number}": self._replica(service, number, first if number == 0 else {})
            for service in SERVICES
            for number in range((replicas or {}).get(service, 1))
        }

    @property
    def dicom_port(self) -> int:
        """DICOM port of the first `ingress`."""
        return self.replicas["ingress-0"].ports["dicom"]

    @property
    def url(self) -> str:
        """Base URL of the first `query`."""
        return f"http://127.0.0.1:{self.replicas['query-0'].ports['http']}"

    def start(self, timeout: float = 120.0) -> None:
        """Start everything and wait until every service is ready; raises `PartError` when one ends instead."""
        self._started_parts = [part for part in self.parts if not part.alive]
        for part in self._started_parts:
            part.launch()
        for part in self._started_parts:
            part.wait_ready(timeout)
        for replica in self.replicas.values():
            replica.process.start()
        self.wait_ready(timeout)

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Return once every service is ready; raises `PartError`."""
        deadline = time.monotonic() + timeout
        waiting = list(self.replicas.values())
        while waiting := [replica for replica in waiting if not replica.ready]:
            self.raise_if_dead()
            if time.monotonic() > deadline:
                names = ", ".join(replica.name for replica in waiting)
                raise PartError(f"not ready after {timeout:.0f} s: {names}\n{waiting[0].process.tail()}")
            time.sleep(0.1)

    def raise_if_dead(self) -> None:
        """Raise `PartError` with the end of its log when something that was started does not run any more."""
        processes = {part.name: part.process for part in self._started_parts}
        processes |= {replica.name: replica.process for replica in self.replicas.values()}
        for name, process in processes.items():
            if process.returncode is not None:
                raise PartError(f"{name} ended with status {process.returncode} ({process.log}):\n{process.tail()}")

    def stop(self, grace: float = 30.0) -> None:
        """Stop the services, those that listen first, each with its drain; then the parts that `start` started."""
        for replica in reversed(self.replicas.values()):
            replica.process.stop(grace)
        for part in self._started_parts:
            part.stop()

    def kill(self, name: str) -> None:
        """End a replica (`ingress-0`) or a part (`rabbitmq`) with SIGKILL."""
        self._process(name).kill()

    def pause(self, name: str) -> None:
        """Freeze a replica or a part."""
        self._process(name).pause()

    def resume(self, name: str) -> None:
        """Let it go on."""
        self._process(name).resume()

    def restart(self, name: str, *, grace: float = 30.0) -> None:
        """Stop a replica or a part if it runs, start it again and wait until it is ready."""
        for part in self.parts:
            if part.name == name:
                part.stop(grace)
                part.start()
                return
        self._process(name).stop(grace)
        self._process(name).start()
        self.wait_ready()

    def addresses(self) -> dict[str, object]:
        """Return where everything is, for tools that read it as JSON."""
        return {
            "aet": "OSTEON",
            "dicom": [r.ports["dicom"] for r in self.replicas.values() if "dicom" in r.ports],
            "http": [r.ports["http"] for r in self.replicas.values() if "http" in r.ports],
            "health": {name: replica.health_port for name, replica in self.replicas.items()},
            "pids": {name: replica.process.pid for name, replica in self.replicas.items()},
            "amqp_url": self.parts.rabbitmq.url,
            "database_url": self._database_url,
            "s3_endpoint": self.parts.seaweedfs.endpoint,
            "logs": str(self.logs),
        }

    def environment(self) -> dict[str, str]:
        """Return the variables for a command, such as `osteon reindex`, that works on this cluster's parts."""
        return self._environment(0, {})

    @property
    def _database_url(self) -> str:
        return self.parts.database_url or self.parts.postgres.url

    def _process(self, name: str) -> Process:
        if name in self.replicas:
            return self.replicas[name].process
        for part in self.parts:
            if part.name == name:
                return part.process
        known = [*self.replicas, *(part.name for part in self.parts)]
        raise PartError(f"no process {name} (there are: {', '.join(known)})")

    def _replica(self, service: str, number: int, first: Mapping[str, int]) -> Replica:
        name = f"{service}-{number}"
        health = free_port()
        kind = {"ingress": "dicom", "query": "http"}.get(service)
        ports = {kind: first.get(kind) or free_port()} if kind else {}
        process = Process(
            [sys.executable, "-m", f"osteon_{service}"],
            log=self.logs / f"{name}.log",
            env=self._environment(health, ports),
        )
        return Replica(name, health, process, ports)

    def _environment(self, health_port: int, ports: Mapping[str, int]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OSTEON_")}
        own = {
            "OSTEON_HEALTH_PORT": str(health_port),
            "OSTEON_AMQP_URL": self.parts.rabbitmq.url,
            "OSTEON_DATABASE_URL": self._database_url,
            "OSTEON_S3_ENDPOINT": self.parts.seaweedfs.endpoint,
            "OSTEON_S3_ACCESS_KEY": self.parts.seaweedfs.access_key,
            "OSTEON_S3_SECRET_KEY": self.parts.seaweedfs.secret_key,
            "OSTEON_S3_BUCKET": self.parts.bucket,
            "OSTEON_SPOOL_DIR": str(self.data / "spool"),
            "OSTEON_PACK_CACHE_DIR": str(self.data / "packs"),
            "OSTEON_OWN_DICOM_ADDRESS": self._own_dicom_address,
        }
        return (
            inherited
            | own
            | {f"OSTEON_{kind.upper()}_PORT": str(port) for kind, port in ports.items()}
            | self._settings
        )
