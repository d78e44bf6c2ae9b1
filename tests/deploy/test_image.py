"""The image: one for all services, without root and without tools to build."""

import json
import re
import shutil
import subprocess

import pytest

from osteon.settings import known_names
from support.deploy import DOCKERFILE, ROOT, settings_in

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


def test_the_health_check_is_python_that_compiles() -> None:
    (command,) = re.findall(r"HEALTHCHECK.*\\\n +CMD (\[.*\])", FINAL)
    program, option, code = json.loads(command)
    assert (program, option) == ("python3", "-c")
    compile(code, "healthcheck", "exec")
    assert "/healthz" in code


def test_everything_that_the_image_copies_is_in_the_build_context() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(\S+) ", TEXT, re.M)
    assert set(copied) == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_pulls_nothing_but_its_base() -> None:
    assert "# syntax" not in TEXT
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.M)) == {"debian:trixie-slim"}


@pytest.mark.skipif(not shutil.which("sh"), reason="no sh here")
def test_the_script_of_the_object_store_is_a_shell_script_without_errors() -> None:
    subprocess.run(["sh", "-n", ROOT / "deploy" / "docker" / "seaweedfs.sh"], check=True)
