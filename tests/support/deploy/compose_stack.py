"""docker-compose.yml brought up for real.

Official images are pulled; where that can not be, the stand-ins of tests/deploy/stand-ins take their place.
"""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from osteon_local.part import free_port
from support.archive.running import RunningArchive
from support.deploy.docker import PROJECT, build, docker, have, make_base, no_docker, quiet, say
from support.deploy.manifests import COMPOSE, DOCKERFILE, ROOT, compose

STAND_INS = ROOT / "tests" / "deploy" / "stand-ins"
TAG = "stack-test"
_PORTS = ("DICOM_PORT", "DICOM_TLS_PORT", "HTTP_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")


@dataclass(slots=True)
class ComposeStack:
    """The running services; ports of the host are free ones, passwords those of `.env.example`."""

    compose: Sequence[str]
    environment: dict[str, str]
    files: list[Path] = field(default_factory=lambda: [COMPOSE])

    @property
    def archive(self) -> RunningArchive:
        """The doors."""
        port = self.environment
        return RunningArchive(int(port["DICOM_PORT"]), f"http://127.0.0.1:{port['HTTP_PORT']}")

    @property
    def prometheus(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.environment['PROMETHEUS_PORT']}"

    def run(self, *arguments: str) -> str:
        """Run a command of compose; fails the test when that fails."""
        files = [word for file in self.files for word in ("-f", str(file))]
        options = ["--env-file", str(ROOT / ".env.example"), "-p", PROJECT, *files]
        return say(*self.compose, *options, *arguments, environment=self.environment)

    def name(self, service: str) -> str:
        """Return the name of the first container of a service."""
        name: str = self.containers(service)[0]["Name"]
        return name.strip("/")

    def execute(self, service: str, *command: str) -> str:
        """Run a program in the first container of a service."""
        return say("docker", "exec", self.name(service), *command).strip()

    def logs(self, service: str) -> str:
        """Return what the containers of a service have logged."""
        return self.run("logs", "--no-color", service)

    def up(self, **scale: int) -> None:
        """Start what does not run, with so many replicas, and wait until all are healthy."""
        scales = [word for name, count in scale.items() for word in ("--scale", f"{name}={count}")]
        self.run("up", "-d", "--no-build", *scales)
        self.wait_healthy()

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return what Docker knows of the containers of a service, or of all."""
        label = f"label=com.docker.compose.service={service}" if service else "label=com.docker.compose.service"
        found = say("docker", "ps", "-aq", "-f", f"label=com.docker.compose.project={PROJECT}", "-f", label).split()
        details: list[dict[str, Any]] = json.loads(say("docker", "inspect", *found)) if found else []
        return details

    def unhealthy(self) -> dict[str, str]:
        """Return by name the state of the containers that are neither healthy nor done."""
        states = {}
        for container in self.containers():
            state = container["State"]
            told = state.get("Health", {}).get("Status", state["Status"])
            if told != "healthy" and not (state["Status"] == "exited" and state["ExitCode"] == 0):
                states[container["Name"].strip("/")] = told
        return states

    def wait_healthy(self, seconds: float = 180) -> None:
        """Return once every container is healthy; fails the test with the logs of one that is not."""
        deadline = time.monotonic() + seconds
        while states := self.unhealthy():
            if time.monotonic() > deadline:
                (name, *_) = states
                pytest.fail(f"not healthy: {states}\n{say('docker', 'logs', '--tail', '30', name)}")
            time.sleep(0.5)

    def kill(self, service: str) -> None:
        """End a container's process as a crash does: unlike `docker kill` this lets it be restarted."""
        (container, *_) = self.containers(service)
        started = container["RestartCount"]
        os.kill(container["State"]["Pid"], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while self.containers(service)[0]["RestartCount"] == started and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.containers(service)[0]["RestartCount"] > started, f"{service} was not restarted"


@contextmanager
def running_stack() -> Iterator[ComposeStack]:
    """Bring the stack up for the block and take everything away behind it; the test is skipped without Docker.

    `OSTEON_TEST_COMPOSE` says with which Compose, such as `docker-compose` for 1.29.
    """
    if os.environ.get("OSTEON_TEST_TOOLS") != "required":
        pytest.skip("takes minutes: `make test-deploy` brings the stack up")
    with ExitStack() as exits:
        exits.enter_context(docker())
        command = compose_command()
        files = [COMPOSE]
        base = "debian:trixie-slim" if have(["debian:trixie-slim"]) else make_base()
        if not have(sorted({str(part["image"]) for part in compose()["services"].values() if "build" not in part})):
            make_stand_ins(base)
            files.append(STAND_INS / "compose.yml")
        make_image(base)
        ports = {name: str(free_port()) for name in _PORTS}
        stack = ComposeStack(command, {**os.environ, **ports, "IMAGE_TAG": TAG}, files)
        exits.callback(stack.run, "down", "-v", "--remove-orphans", "-t", "5")
        stack.up()
        yield stack


def compose_command() -> Sequence[str]:
    """Return the command of Compose 2, or of 1."""
    wanted = os.environ.get("OSTEON_TEST_COMPOSE")
    commands = [wanted.split()] if wanted else [["docker", "compose"], ["docker-compose"]]
    found = next((each for each in commands if shutil.which(each[0]) and quiet(*each, "version")), None)
    if found is None:
        no_docker("neither `docker compose` nor `docker-compose` is here (Debian: apt-get install docker-compose)")
    return found


def make_stand_ins(base: str) -> None:
    """Build the images that stand in for the official ones."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(STAND_INS, folder, dirs_exist_ok=True)
        weed = shutil.which("weed") or str(ROOT / ".venv" / "bin" / "weed")
        shutil.copy(weed, folder)
        for file in sorted(STAND_INS.glob("*.Dockerfile")):
            build(f"{PROJECT}/{file.stem}", file, folder, BASE=base)


def make_image(base: str) -> None:
    """Build Osteon's image, from the Dockerfile that everybody uses."""
    build(f"osteon:{TAG}", DOCKERFILE, str(ROOT), BASE=base, REVISION="under-test")
