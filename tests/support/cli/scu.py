"""Runs the tools of the command line in this process, and peers for them."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
import typer
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
from typer.testing import CliRunner

from osteon.cli.scu import runner
from support.dimse.pynetdicom_acceptor import accepting

VERIFICATION = "1.2.840.10008.1.1"
MODELS = tuple(f"1.2.840.10008.5.1.4.1.2.{root}.{kind}" for root in (1, 2) for kind in (1, 2, 3))


@dataclass(frozen=True)
class ToolResult:
    """How a tool ended and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ToolResult]:
    """Run `main` of a tool with arguments; logging stays as it is."""
    monkeypatch.setattr(runner.logging, "setup", lambda *_, **__: None)

    def run(main: Callable[..., None], *arguments: object) -> ToolResult:
        app = typer.Typer()
        app.command()(main)
        with structlog.testing.capture_logs():  # they would be among what is printed
            result = CliRunner().invoke(app, [str(each) for each in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return ToolResult(result.exit_code, result.stdout, result.stderr)

    return run


@contextmanager
def pynetdicom(*handlers: tuple[object, Callable[..., object]]) -> Iterator[str]:
    """Run pynetdicom as an acceptor of everything; gives its address."""
    entity = AE(ae_title="PYNET")
    for uid in (VERIFICATION, *MODELS):
        entity.add_supported_context(uid)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    with accepting(entity, *handlers) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def program(port: int, *command: str, folder: Path) -> Iterator[str]:
    """Run a program of DCMTK until it listens, and for the block; gives its address."""
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _until_listening(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _until_listening(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens on {port}"
            time.sleep(0.05)
        else:
            return
