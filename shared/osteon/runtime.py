"""Runs a service: signals, start and stop order, its small HTTP server."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import ASGIApp

from osteon import health, logging
from osteon.errors import OsteonError
from osteon.settings import BadSettings, ProcessSettings, load

log = logging.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A started service: what `/readyz` asks, and where it listens (for logs and tests)."""

    checks: Mapping[str, health.Check]
    ports: Mapping[str, int] = field(default_factory=dict)


S = TypeVar("S", bound=ProcessSettings)
Build = Callable[[S], AbstractAsyncContextManager[Running]]
"""Starts a service on entering and drains it on leaving."""


def run(name: str, kind: type[S], build: Build[S]) -> None:
    """Run a service with its health server until SIGTERM or SIGINT, then drain it; settings come from the environment."""
    settings = settings_or_exit(kind)

    async def serve() -> None:
        async with build(settings) as running:
            app = Starlette(routes=health.routes(running.checks))
            async with http_server(app, settings.bind, settings.health_port) as port:
                log.info("started", **running.ports, health=port, pid=os.getpid())
                await stop_signal()
            log.info("stopping")

    main(name, settings, serve)
    log.info("stopped")


def main(name: str, settings: ProcessSettings, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Set up logs and run `serve` on uvloop; an Osteon error ends the process with its message, not a traceback."""
    logging.setup(name, level=settings.log_level, style=settings.log_format)
    try:
        uvloop.run(serve())
    except (OsteonError, BaseExceptionGroup) as failure:
        failures = _leaves(failure)
        if not all(isinstance(error, OsteonError) for error in failures):
            raise
        for error in failures:
            log.error("failed", error=str(error), kind=type(error).__name__)
        sys.exit(1)


def settings_or_exit(kind: type[S]) -> S:
    """Return a service's settings; when they can not be used, say why and end the process with status 2."""
    try:
        return load(kind)
    except BadSettings as error:
        print(f"osteon: the settings can not be used:\n{error}", file=sys.stderr)  # noqa: T201 (logs are not set up yet)
        sys.exit(2)


async def stop_signal() -> None:
    """Return when the process is asked to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def http_server(app: ASGIApp, host: str, port: int, *, grace: float = 5.0) -> AsyncIterator[int]:
    """Serve an ASGI app inside; yields the port. On leaving, requests in flight get `grace` seconds."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OsteonError(f"can not listen on {host}:{port}: {error.strerror}") from None
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=max(1, int(grace))
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `run` has its own."""

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
