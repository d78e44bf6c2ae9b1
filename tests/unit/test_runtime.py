"""A service answers its health checks from the first moment, and drains when it is asked to stop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import structlog
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from osteon import health, runtime
from osteon.errors import OsteonError, Unavailable
from osteon.settings import ProcessSettings
from osteon_local.part import free_port


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ProcessSettings:
    monkeypatch.setenv("OSTEON_HEALTH_PORT", str(free_port()))
    return ProcessSettings()


def test_readiness_follows_the_checks_and_sigterm_drains(settings: ProcessSettings) -> None:
    seen: list[object] = []
    health = f"http://127.0.0.1:{settings.health_port}"

    async def broker() -> None:
        raise Unavailable("no broker at 127.0.0.1:5672")

    async def look() -> None:
        async with httpx.AsyncClient() as client:
            seen.append((await client.get(f"{health}/healthz")).status_code)
            ready = await client.get(f"{health}/readyz")
            seen.append((ready.status_code, ready.json()["parts"]))
            seen.append("osteon_associations_open" in (await client.get(f"{health}/metrics")).text)

    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[runtime.Running]:
        await look()
        try:
            yield runtime.Running(checks={"broker": broker})
            seen.append("never reached")
        finally:
            await look()
            seen.append("drained")

    @asynccontextmanager
    async def build_and_stop(given: ProcessSettings) -> AsyncIterator[runtime.Running]:
        async with build(given) as running:
            asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)
            yield running

    runtime.run("test", settings, build_and_stop)
    starting = (503, {"start": "still starting"})
    down = (503, {"broker": "no broker at 127.0.0.1:5672"})
    assert seen == [200, starting, True, 200, down, True, "drained"]


def test_a_service_that_cannot_start_says_why_and_exits_with_1(
    settings: ProcessSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[runtime.Running]:
        raise Unavailable("the disk is gone")
        yield

    with pytest.raises(SystemExit) as exit_:
        runtime.run("test", settings, build)
    assert exit_.value.code == 1
    assert "the disk is gone" in capsys.readouterr().err


def test_settings_that_cannot_be_used_exit_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OSTEON_HEALTH_PORT", "x")
    with pytest.raises(SystemExit) as exit_:
        runtime.settings_or_exit(ProcessSettings)
    assert exit_.value.code == 2
    assert "OSTEON_HEALTH_PORT" in capsys.readouterr().err


async def test_a_port_in_use_is_a_clear_error() -> None:
    async with runtime.http_server(Starlette(), "127.0.0.1", 0) as port:
        with pytest.raises(runtime.OsteonError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with runtime.http_server(Starlette(), "127.0.0.1", port):
                pass


async def test_a_part_that_is_down_at_start_is_waited_for() -> None:
    answers = [Unavailable("not yet"), None]

    async def start() -> None:
        if answer := answers.pop(0):
            raise answer

    await runtime.until_available("database", start)
    assert answers == []


async def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    async with runtime.http_server(Starlette(), "127.0.0.1", 0) as port:
        with pytest.raises(OsteonError, match=rf"127\.0\.0\.1:{port} \(OSTEON_HEALTH_PORT\): Address already in use"):
            async with runtime.http_server(Starlette(), "127.0.0.1", port, "OSTEON_HEALTH_PORT"):
                pass


async def test_a_part_that_stops_working_is_logged_once_and_so_is_its_return() -> None:
    problem: list[Unavailable] = []

    async def broker() -> None:
        if problem:
            raise problem[0]

    [ready] = [route.endpoint for route in health.routes({"broker": broker}) if route.path == "/readyz"]
    with structlog.testing.capture_logs() as lines:
        for state in ([], [Unavailable("refused")], [Unavailable("refused")], [], []):
            problem[:] = state
            await ready(None)
    assert [(line["event"], line["part"], line.get("reason")) for line in lines] == [
        ("part is unavailable", "broker", "refused"),
        ("part is available again", "broker", None),
    ]


async def test_a_part_that_does_not_work_is_a_metric_until_it_is_asked_no_more() -> None:
    async def broker() -> None:
        raise Unavailable("refused")

    async def objects() -> None:
        pass

    checks = {"broker": broker, "objects": objects}
    [ready] = [route.endpoint for route in health.routes(checks) if route.path == "/readyz"]
    await ready(None)
    assert [REGISTRY.get_sample_value("osteon_ready", {"part": part}) for part in checks] == [0, 1]
    del checks["broker"]
    await ready(None)
    assert [REGISTRY.get_sample_value("osteon_ready", {"part": part}) for part in ("broker", "objects")] == [None, 1]


async def test_a_request_that_outlives_the_grace_period_is_answered_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with httpx.AsyncClient() as client:
        async with runtime.http_server(endless, "127.0.0.1", 0, grace=1) as port:
            request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/", timeout=30))
            await begun.wait()
        response = await request
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert not [record for record in caplog.records if record.exc_info]


def test_what_a_service_makes_is_for_its_user_only(settings: ProcessSettings, tmp_path: Path) -> None:
    @asynccontextmanager
    async def build(_: ProcessSettings) -> AsyncIterator[runtime.Running]:
        (tmp_path / "made").touch()
        raise Unavailable("enough")
        yield

    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit):
            runtime.run("test", settings, build)
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
