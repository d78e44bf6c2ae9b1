"""`osteon doctor --init`, before a service starts: what it waits for must not keep it from starting."""

import errno
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from osteon.cli.doctor import command
from osteon.spool.disk import Disk
from osteon_local.part import free_port
from support.cli.doctor import look

app = command.typer.Typer()
app.command()(command.main)


@pytest.fixture(autouse=True)
def nothing_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every part that an ingress uses is down."""
    look(monkeypatch, "cluster", [])  # clears the environment
    monkeypatch.setenv("OSTEON_SPOOL_DIR", str(tmp_path))
    monkeypatch.setenv("OSTEON_AMQP_URL", f"amqp://127.0.0.1:{free_port()}/")
    monkeypatch.setenv("OSTEON_S3_ENDPOINT", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("OSTEON_DATABASE_URL", f"postgresql+psycopg://osteon@127.0.0.1:{free_port()}/osteon")
    for port in ("DICOM", "HEALTH", "HTTP"):
        monkeypatch.setenv(f"OSTEON_{port}_PORT", str(free_port()))


def doctor(service: str = "ingress", *more: str) -> Result:
    return CliRunner().invoke(app, ["--service", service, "--init", "--timeout", "20", *more])


@pytest.mark.parametrize("service", ["ingress", "writer", "indexer"])
def test_a_service_starts_while_broker_object_store_and_database_are_down(service: str) -> None:
    done = doctor(service)
    assert "FAIL  broker" in done.output
    assert done.exit_code == 0
    assert CliRunner().invoke(app, ["--service", service, "--warnings-ok"]).exit_code == 2


def test_a_wrong_setting_keeps_a_service_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_DICOM_PROT", "4242")
    assert doctor().exit_code == 2


def test_a_spool_that_cannot_be_written_keeps_an_ingress_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OSTEON_SPOOL_DIR", str(tmp_path / "file"))
    assert doctor().exit_code == 2


def test_a_full_spool_does_not_keep_the_writer_that_empties_it_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEON_SPOOL_HIGH_WATER", "0.000001")
    done = doctor("writer", "--only", "disk")
    assert "0xA700" in done.output
    assert done.exit_code == 0


def test_no_room_for_a_single_file_does_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Disk, "write", full)
    done = doctor("writer", "--only", "disk")
    assert "FAIL  disk" in done.output
    assert done.exit_code == 0
