"""Docker for tests: the one that runs here, or one that is started for them as root; images made from packages."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from support.deploy.manifests import ROOT

PROJECT = "osteon-test"
"""What the tests make begins with it."""


@contextmanager
def docker() -> Iterator[None]:
    """Use the Docker that runs; else start one as root, with a folder of its own that is removed at the end."""
    if not shutil.which("docker"):
        no_docker("`docker` is not here (Debian: apt-get install docker.io docker-compose mmdebstrap)")
    if answers():
        yield
        return
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        no_docker("no Docker answers, and only root can start one")
    with ExitStack() as exits:
        # Not in /tmp, which is memory on some computers.
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="osteon-docker-", dir="/var/tmp")))
        host = f"unix://{folder}/docker.sock"
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        parts = [f"--{name}={folder / place}" for name, place in places.items()]
        with (folder / "log").open("w") as log:
            daemon = subprocess.Popen(["dockerd", *parts, "-H", host], stdout=log, stderr=log)
        # What `docker build --network host` leaves mounted.
        exits.callback(quiet, "umount", f"{folder}/exec/netns/default")
        exits.callback(stop, daemon)
        os.environ["DOCKER_HOST"] = host
        exits.callback(os.environ.pop, "DOCKER_HOST")
        deadline = time.monotonic() + 30
        while not answers():
            if daemon.poll() is not None or time.monotonic() > deadline:
                no_docker(f"dockerd does not start here: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.2)
        yield


def no_docker(why: str) -> NoReturn:
    """Skip; `make test-deploy` shows why."""
    pytest.skip(f"the stack is not tested: {why}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here."""
    process.terminate()
    process.wait(60)


def answers() -> bool:
    """Tell whether Docker answers."""
    return quiet("docker", "info")


def quiet(*command: str) -> bool:
    """Run a program and tell whether it ended well."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def have(images: Sequence[str]) -> bool:
    """Tell whether these images are here, or can be pulled."""
    return all(have_already(image) or quiet("docker", "pull", "-q", image) for image in images)


def make_base() -> str:
    """Make Debian's base image from its packages; returns its name."""
    name = f"{PROJECT}/base"
    if have_already(name):
        return name
    if not shutil.which("mmdebstrap") or os.geteuid() != 0:
        no_docker("debian:trixie-slim can not be pulled, nor made without root and mmdebstrap")
    copy = 'mkdir -p "$1{0}"; cp {0}/*.crt "$1{0}" || :'.format("/usr/local/share/ca-certificates")
    options = ("--variant=minbase", "--mode=root", f"--setup-hook={copy}", "trixie", "-")
    made = subprocess.Popen(["mmdebstrap", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    imported = subprocess.run(["docker", "import", "-", name], stdin=made.stdout, capture_output=True, check=False)
    if made.wait() or imported.returncode:
        no_docker("debian:trixie-slim can be neither pulled nor made from Debian's packages")
    return name


def build(name: str, file: Path, folder: str, **arguments: str) -> None:
    """Build an image; Docker keeps what did not change."""
    given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    say("docker", "build", "--network", "host", *given, "-f", str(file), "-t", name, folder)


def have_already(image: str) -> bool:
    """Tell whether an image is here."""
    return quiet("docker", "image", "inspect", image)


def say(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a program and return what it said; fails the test when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
