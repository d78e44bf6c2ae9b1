"""A private PostgreSQL cluster (Debian: postgresql), fsync on, trusted on loopback."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

from osteon_local.part import Part, PartError, find_binary, free_port
from osteon_local.process import Process

_INSTALL = "apt-get install --no-install-recommends -y postgresql"
_USER = "osteon"


class Postgres(Part):
    """PostgreSQL on `port` with a database `osteon` of the superuser `osteon`."""

    name: ClassVar[str] = "postgres"

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self._numbers = itertools.count(1)
        self._cluster = self.folder / "cluster"

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database `osteon`."""
        return self.url_of("osteon")

    def url_of(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{_USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str = "") -> str:
        """Make an empty database (a fresh name when none is given) and return its SQLAlchemy URL."""
        name = name or f"osteon_{os.getpid()}_{next(self._numbers)}"
        self._run("createdb", *self._client, name)
        return self.url_of(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, with whatever is connected to it."""
        self._run("dropdb", *self._client, "--force", "--if-exists", url.rpartition("/")[2])

    def prepare(self) -> Process:
        """Make the cluster when there is none."""
        if not (self._cluster / "PG_VERSION").exists():
            shutil.rmtree(self._cluster, ignore_errors=True)
            self._own_folder()
            self._run("initdb", "--username", _USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8",
                      "--pgdata", str(self._cluster))  # fmt: skip
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on",
            "shared_buffers": "64MB",
            "max_connections": "200",
            "max_wal_size": "512MB",
        }
        arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        command = [self._binary("postgres"), "-D", str(self._cluster), *arguments]
        # SIGINT: "fast" shutdown, which does not wait for clients to leave.
        return Process(command, log=self.log, cwd=Path("/"), stop_signal=signal.SIGINT, privileges=self._privileges())

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Wait until it takes connections and has its database."""
        super().wait_ready(timeout)
        databases = self._run("psql", *self._client, "-d", "postgres", "-Atc", "select datname from pg_database")
        if "osteon" not in databases.split():
            self.create_database("osteon")

    def probe(self) -> str:
        """Ask `pg_isready`."""
        done = subprocess.run(
            [self._binary("pg_isready"), *self._client, "-d", "postgres"], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode else ""

    @property
    def _client(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", _USER]

    def _binary(self, name: str) -> str:
        return find_binary(name, "/usr/lib/postgresql/*/bin", install=_INSTALL)

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            [*self._as_user(), self._binary(name), *arguments], cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PartError(f"{name} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def _as_user(self) -> list[str]:
        privileges = self._privileges()
        setpriv = find_binary("setpriv", install="apt-get install -y util-linux")
        return [setpriv, *privileges, "--"] if privileges else []

    def _privileges(self) -> list[str]:
        """PostgreSQL refuses to run as root; then it runs as its own user."""
        if os.geteuid() != 0:
            return []
        user = ["--reuid=postgres", "--regid=postgres", "--init-groups"]
        # Lets it pass through folders that only root may enter, such as a clone in /root.
        passing = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        return user if _enters(user, self._cluster) else [*user, *passing]

    def _own_folder(self) -> None:
        self._cluster.mkdir(mode=0o700)
        if os.geteuid() != 0:
            return
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            raise PartError(f"the user postgres is missing; install it with: {_INSTALL}") from None
        os.chown(self._cluster, owner.pw_uid, owner.pw_gid)
        if not _enters(self._privileges(), self._cluster):
            raise PartError(
                f"PostgreSQL cannot run as root, and the user postgres cannot enter {self._cluster}: "
                "give a data folder whose parents it may enter, such as one below /var/tmp"
            )


def _enters(privileges: list[str], folder: Path) -> bool:
    """Whether a process with these privileges gets to a folder."""
    setpriv = find_binary("setpriv", install="apt-get install -y util-linux")
    command = [setpriv, *privileges, "--", "stat", str(folder / ".")]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
