"""What RabbitMQ, PostgreSQL and SeaweedFS have in common when they run as private processes."""

import random
import shutil
import socket
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from osteon_local.process import Process

_given: set[int] = set()


class PartError(RuntimeError):
    """A part cannot be started; the message says why and what to do."""


class Startable(ABC):
    """Runs inside a `with` statement."""

    @abstractmethod
    def start(self) -> None:
        """Start and wait until it can be used."""

    @abstractmethod
    def stop(self) -> None:
        """Stop what was started."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


class Part(Startable):
    """A server in a folder of its own, on ports that stay the same over restarts."""

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"{self.name}.log"
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The server's process; raises `PartError` when it was never started."""
        if self._process is None:
            raise PartError(f"{self.name} was not started")
        return self._process

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.alive

    def launch(self) -> None:
        """Start the server without waiting for it."""
        if self._process is None:
            self._process = self.prepare()
        self._process.start()

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Return once the server does its work; raises `PartError` with the end of its log when it does not."""
        deadline = time.monotonic() + timeout
        reason = ""
        while time.monotonic() < deadline:
            if not self.alive:
                raise PartError(f"{self.name} ended with status {self.process.returncode}:\n{self.process.tail()}")
            reason = self.probe()
            if not reason:
                return
            time.sleep(0.1)
        raise PartError(f"{self.name} is not ready after {timeout:.0f} s ({reason}):\n{self.process.tail()}")

    def start(self, timeout: float = 90.0) -> None:
        """Start the server and wait until it does its work."""
        self.launch()
        self.wait_ready(timeout)

    def stop(self, grace: float = 15.0) -> None:
        """Shut the server down in an orderly way."""
        if self._process is not None:
            self._process.stop(grace)

    def kill(self) -> None:
        """End the server with SIGKILL."""
        self.process.kill()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open, nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        """Let a frozen server go on."""
        self.process.resume()

    @abstractmethod
    def prepare(self) -> Process:
        """Make what the first start needs (configuration, empty database) and return the process."""

    @abstractmethod
    def probe(self) -> str:
        """Return why the server cannot be used yet, or nothing when it can."""


def free_port() -> int:
    """Return a loopback TCP port that is free, outside the range that the kernel gives to outgoing connections."""
    for _ in range(1000):
        port = random.randrange(20_000, 32_000)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise PartError("no free port between 20000 and 32000 on 127.0.0.1")


def find_binary(name: str, *places: str, install: str) -> str:
    """Return the path of a program; raises `PartError` with the command that installs it."""
    for place in places:
        for candidate in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            if (candidate / name).exists():
                return str(candidate / name)
    found = shutil.which(name)
    if found is None:
        raise PartError(f"the program `{name}` is missing; install it with: {install}")
    return found


def tcp_exchange(port: int, sent: bytes, *, size: int = 1, timeout: float = 2.0) -> bytes:
    """Send bytes to a loopback port and return what comes back first; raises `OSError`."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(sent)
        return connection.recv(size)
