"""`osteon doctor` and `osteon dlq` on the command line."""

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from osteon.cli import main as cli
from osteon.cli.doctor import command
from osteon.cli.doctor.report import Severity
from osteon.cli.doctor.table import PROBES
from osteon_local.part import free_port
from support.cli.doctor import bad, look

app = command.typer.Typer()
app.command()(command.main)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A standalone Osteon that was never started, on ports that are free."""
    look(monkeypatch, "cluster", [])  # clears the environment
    monkeypatch.setenv("OSTEON_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OSTEON_DICOM_PORT", str(free_port()))
    monkeypatch.setenv("OSTEON_HTTP_PORT", str(free_port()))


def test_without_settings_of_the_parts_it_looks_at_standalone_and_makes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--json", "--warnings-ok"])
    report = json.loads(done.stdout)
    assert (done.exit_code, report["service"]) == (0, "standalone")
    assert {each["probe"] for each in report["findings"]} >= {"settings", "ports", "disk", "objects", "database"}
    assert list(tmp_path.iterdir()) == []


def test_only_looks_at_the_parts_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_AMQP_URL", f"amqp://127.0.0.1:{free_port()}/")
    done = CliRunner().invoke(app, ["--json", "--only", "host", "--only", "ports"])
    report = json.loads(done.stdout)
    assert report["service"] == "cluster"
    assert {each["probe"] for each in report["findings"]} == {"host", "ports"}


def test_a_part_or_service_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = CliRunner().invoke(app, ["--only", "databse"])
    assert done.exit_code == 2
    assert "database" in done.output
    assert "ingress" in CliRunner().invoke(app, ["--service", "injest"]).output


def test_exit_codes_tell_warnings_from_failures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OSTEON_SPOOL_HIGH_WATER", "0.000001")
    assert CliRunner().invoke(app, ["--only", "disk"]).exit_code == 2
    (tmp_path / "data" / "spool" / "f").mkdir(parents=True)
    (tmp_path / "data" / "spool" / "f" / "x.damaged").touch()
    monkeypatch.setenv("OSTEON_SPOOL_HIGH_WATER", "1")
    assert CliRunner().invoke(app, ["--only", "disk"]).exit_code == 1
    assert CliRunner().invoke(app, ["--only", "disk", "--warnings-ok"]).exit_code == 0


def test_a_misspelled_setting_is_named_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    [wrong] = bad(look(monkeypatch, "ingress", ["settings"], dicom_prot="104"))
    assert wrong.startswith("FAIL OSTEON_DICOM_PROT: no such setting; is OSTEON_DICOM_PORT meant?")


def test_a_value_that_cannot_be_used_keeps_it_from_looking_further(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = bad(look(monkeypatch, "ingress", ["host"], dicom_port="many"))
    assert "OSTEON_DICOM_PORT" in wrong[0]
    assert "nothing else was checked" in wrong[1]


@pytest.mark.parametrize("service", ["ingress", "writer", "indexer", "query", "standalone"])
def test_each_service_announces_its_settings(service: str) -> None:
    assert service in importlib.metadata.entry_points(group="osteon.settings").names
    kind = command._settings_of(service)
    assert any(issubclass(kind, probe.needs) for probe in PROBES)


def test_a_service_is_looked_at_for_what_it_needs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {each.probe for each in look(monkeypatch, "ingress", command._NAMES, amqp_url="amqp://127.0.0.1:1/")}
    assert names == {"settings", "host", "ports", "disk", "broker", "objects", "certificates"}


@pytest.mark.slow
def test_a_port_that_another_program_has_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        [wrong] = bad(look(monkeypatch, "writer", ["ports"], health_port=port))
    assert wrong.startswith(f"FAIL 127.0.0.1:{port} (OSTEON_HEALTH_PORT) is used by another program")


def test_an_address_of_another_host_is_no_address_to_listen_on(monkeypatch: pytest.MonkeyPatch) -> None:
    [wrong] = bad(look(monkeypatch, "writer", ["ports"], bind="192.0.2.1"))
    assert "OSTEON_BIND" in wrong


def test_help_lists_every_command_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["osteon", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().out
    for name in ("dlq", "doctor", "reindex", "ingress"):
        assert any(name in line and len(line.split()) > 4 for line in shown.splitlines()), name


def test_the_levels_are_the_exit_codes() -> None:
    assert [int(level) for level in Severity] == [0, 1, 2]
