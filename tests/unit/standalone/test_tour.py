"""`osteon demo` shows every service of a running archive at work, or which one is not."""

import asyncio
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from osteon_standalone import tour
from osteon_standalone.build import build
from osteon_standalone.settings import StandaloneServiceSettings

NOBODY = "http://127.0.0.1:9"
UP = b"""{"status": "success", "data": {"result": [
  {"metric": {"job": "ingress", "instance": "a"}, "value": [0, "1"]},
  {"metric": {"job": "ingress", "instance": "b"}, "value": [0, "0"]},
  {"metric": {"job": "writer", "instance": "c"}, "value": [0, "1"]}]}}"""


def demo(dicom: str, http: str, *, wait: int = 5) -> Result:
    app = typer.Typer()
    app.command()(tour.main)
    others = ["--prometheus", NOBODY, "--grafana", NOBODY]
    return CliRunner().invoke(app, ["--dicom", dicom, "--http", http, "--wait", str(wait), *others])


@pytest.mark.slow
async def test_every_service_is_seen_at_work_and_the_study_is_stored_once(tmp_path: Path) -> None:
    settings = StandaloneServiceSettings(data=tmp_path, dicom_port=0, http_port=0, demo=False)
    async with build(settings) as running:
        dicom, http = f"127.0.0.1:{running.ports['dicom']}", f"http://127.0.0.1:{running.ports['http']}"
        for _ in range(2):
            result = await asyncio.to_thread(demo, dicom, http)
            assert result.exit_code == 0, result.output
            assert all(service in result.output for service, _, _ in tour.STEPS)
            assert "17 instances can be found" in result.output
            assert f"{http}/dicom-web" in result.output


def test_an_archive_that_is_not_there_is_named() -> None:
    result = demo("127.0.0.1:9", NOBODY, wait=0)
    assert result.exit_code == 1
    assert "ingress: C-ECHO" in result.output
    assert NOBODY in result.output.replace("\n", "")


def test_an_address_without_a_port_is_refused() -> None:
    assert demo("archive", NOBODY).exit_code == 2


def test_replicas_that_do_not_answer_are_told_from_those_that_do() -> None:
    assert tour.replicas("http://prometheus", lambda _: UP) == {"ingress": (1, 2), "writer": (1, 1)}


def test_without_prometheus_nothing_is_said_of_replicas() -> None:
    assert tour.replicas(NOBODY) == {}
