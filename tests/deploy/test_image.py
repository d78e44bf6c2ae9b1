"""The image: one for all services, without root and without tools to build."""

import re
import shutil
import socket
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from osteon.settings import known_names
from support.deploy.checkers import run, tool
from support.deploy.compose_stack import STAND_INS
from support.deploy.manifests import DOCKERFILE, ROOT, settings_in

TEXT = DOCKERFILE.read_text()
FINAL = TEXT[TEXT.rindex("\nFROM ") :]


def test_every_setting_in_the_dockerfile_exists() -> None:
    assert settings_in(TEXT)
    assert settings_in(TEXT) <= known_names()


def test_the_final_stage_runs_without_root() -> None:
    assert re.findall(r"^USER (.+)$", FINAL, re.M) == ["10001:10001"]


def test_the_final_stage_installs_nothing_that_builds() -> None:
    assert not re.search(r"\b(pip|gcc|make|build-essential|python3-venv|git|curl)\b", FINAL)


def test_the_dependencies_are_installed_by_hash() -> None:
    assert "--require-hashes --only-binary :all: -r requirements.lock" in TEXT


class Health(BaseHTTPRequestHandler):
    """Answers /healthz and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()


@pytest.mark.parametrize("variable", ["OSTEON_HEALTH_PORT", "OSTEON_HTTP_PORT"])
def test_the_health_check_passes_while_one_of_the_two_ports_answers(variable: str) -> None:
    (script,) = re.findall(r"^COPY (\S+healthcheck\.py) ", FINAL, re.M)
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = str(closed.getsockname()[1])
        environment = {"OSTEON_HEALTH_PORT": nobody, "OSTEON_HTTP_PORT": nobody}
        check = [sys.executable, ROOT / script]
        assert subprocess.run(check, env=environment, check=False).returncode == 1
        Thread(target=server.serve_forever, daemon=True).start()
        answers = environment | {variable: str(server.server_port)}
        assert subprocess.run(check, env=answers, check=False).returncode == 0
        server.shutdown()


def test_everything_that_the_image_copies_is_in_the_build_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.M) for name in line.split()}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_pulls_nothing_but_its_base() -> None:
    assert "# syntax" not in TEXT
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.M)) == {"${BASE}"}
    assert re.findall(r"^ARG BASE=(.+)$", TEXT, re.M) == ["debian:trixie-slim"]


def test_labels_say_what_the_image_is() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', FINAL))
    assert labels.keys() >= {"title", "description", "version", "revision", "source", "licenses", "base.name"}
    assert labels["licenses"] == "Apache-2.0"
    project = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text())["project"]
    assert re.findall(r"^ARG VERSION=(.+)$", FINAL, re.M) == [project["version"]]


def test_what_is_inside_is_listed_inside() -> None:
    assert "COPY LICENSE requirements.lock /usr/share/doc/osteon/" in FINAL


DOCKERFILES = [DOCKERFILE, *sorted(STAND_INS.glob("*.Dockerfile"))]


@pytest.mark.parametrize("file", DOCKERFILES, ids=[file.name for file in DOCKERFILES])
def test_hadolint_has_nothing_against_a_dockerfile(file: Path) -> None:
    """The base and packages follow their security updates, so they are not pinned; users of packages have names."""
    done = run(tool("hadolint"), *(f"--ignore={rule}" for rule in ("DL3006", "DL3008", "DL3066")), file)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not shutil.which("sh"), reason="no sh here")
def test_the_script_of_the_object_store_is_a_shell_script_without_errors() -> None:
    subprocess.run(["sh", "-n", ROOT / "deploy" / "docker" / "seaweedfs.sh"], check=True)
