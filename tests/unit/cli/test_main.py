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


def test_a_mistyped_setting_is_named_before_the_service_is_imported(tmp_path: Path) -> None:
    environment = {**os.environ, "OSTEON_AET_TITLE": "X", "OSTEON_DATA": str(tmp_path / "data")}
    code = "import sys; sys.argv = ['osteon', 'standalone']; from osteon.cli.main import main; main()"
    trace = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(trace, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "OSTEON_AET_TITLE: no such setting" in done.stderr
    assert "pydantic" in done.stderr
    for heavy in ("fastapi", "sqlalchemy", "osteon_query"):
        assert f"| {heavy}\n" not in done.stderr.replace("  ", " "), heavy
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["OSTEON_DATABASE_URL", "OSTEON_SPOOL_DIR", "OSTEON_S3_BUCKET"])
def test_standalone_refuses_settings_of_the_separate_services(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from osteon.settings import read
    from osteon_standalone.settings import StandaloneServiceSettings

    monkeypatch.setenv(name, "sqlite://")
    _, wrong = read(StandaloneServiceSettings)
    assert [line.partition(":")[0] for line in wrong] == [name]
    assert "OSTEON_DATA" in wrong[0]
