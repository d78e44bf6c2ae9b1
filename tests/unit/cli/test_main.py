"""`osteon` itself: version, help, and settings that are wrong before anything heavy is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from osteon import __version__
from osteon.cli.main import app

OSTEON = Path(sys.executable).with_name("osteon")


@pytest.mark.parametrize("words", [["--version"], ["-V"]])
def test_the_version_is_an_option(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).stdout == f"osteon {__version__}\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_a_short_form_everywhere(option: str) -> None:
    for command in ([], ["dlq"], ["dlq", "list"], ["rules", "add"], ["jobs", "list"], ["get"]):
        done = subprocess.run([OSTEON, *command, option], capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert "Usage: osteon" in done.stdout


def _imported_by(command: str, **settings: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command; return what it printed, and the names of all modules that it imported."""
    code = f"import sys; sys.argv = ['osteon', '{command}']; from osteon.cli.main import main; main()"
    trace = [sys.executable, "-X", "importtime", "-c", code]
    environment = {**os.environ, **settings}
    done = subprocess.run(trace, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done, {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
    }


def test_the_version_is_printed_without_settings_and_services() -> None:
    done, modules = _imported_by("version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")
    assert "osteon.cli.main" in modules
    assert not modules & {"osteon.settings", "pydicom", "numpy", "sqlalchemy", "fastapi", "minio", "rich.console"}


HEAVY = {"alembic", "fastapi", "httpx", "minio", "numpy", "pydicom", "pynetdicom", "sqlalchemy"}
"""What a service needs for its work, and not for its settings."""


def test_a_mistyped_setting_is_named_before_the_service_is_imported(tmp_path: Path) -> None:
    done, modules = _imported_by("standalone", OSTEON_AET_TITLE="X", OSTEON_DATA=str(tmp_path / "data"))
    assert done.returncode == 2
    assert "OSTEON_AET_TITLE: no such setting" in done.stderr
    assert "pydantic" in modules
    assert not modules & {*HEAVY, "uvicorn"}
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("service", ["dispatcher", "imaging", "indexer", "ingress", "query", "standalone", "writer"])
def test_a_value_that_cannot_be_is_named_before_the_service_is_imported(service: str, tmp_path: Path) -> None:
    done, modules = _imported_by(service, OSTEON_LOG_LEVEL="LOUD", OSTEON_DATA=str(tmp_path / "data"))
    assert done.returncode == 2
    assert "OSTEON_LOG_LEVEL" in done.stderr
    assert "osteon.runtime" in modules
    assert not modules & {*HEAVY, f"osteon_{service}.build"}
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["OSTEON_DATABASE_URL", "OSTEON_SPOOL_DIR", "OSTEON_S3_BUCKET"])
def test_standalone_refuses_settings_of_the_separate_services(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from osteon.settings import read
    from osteon_standalone.settings import StandaloneServiceSettings

    monkeypatch.setenv(name, "sqlite://")
    _, wrong = read(StandaloneServiceSettings)
    assert [line.partition(":")[0] for line in wrong] == [name]
    assert "OSTEON_DATA" in wrong[0]
