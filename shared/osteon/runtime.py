"""Runs a service: signals, start and stop order, its small HTTP server."""

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon import health, heap, logging, process_metrics, tracing, tracing_setup
from osteon.backoff import retry_forever
from osteon.errors import OsteonError, Unavailable
from osteon.forwarded import ForwardedMiddleware, TrustedProxies
from osteon.logging import get_logger
from osteon.private_files import UMASK
from osteon.settings import BadSettings, ProcessSettings, Settings, exit_with, load
from osteon.uvicorn_limits import HeaderLimitProtocol

log = get_logger(__name__)
_STOPPING: Final = PlainTextResponse("the service stops; try again\n", 503, {"Retry-After": "5"})
OPEN_FILES: Final = 10_240
"""Files that a service with a DICOM listener may have open, if the system lets it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A started service: what `/readyz` checks, and where it listens (for logs and tests)."""

    checks: Mapping[str, health.Check]
    ports: Mapping[str, int] = field(default_factory=dict)


A = TypeVar("A", bound=Settings)
S = TypeVar("S", bound=ProcessSettings)
Build = Callable[[S], AbstractAsyncContextManager[Running]]
"""Starts a service on entering and drains it on leaving."""


def run(name: str, settings: S, build: Build[S]) -> None:
    """Run a service until SIGTERM or SIGINT, then drain it.

    Its health server answers from the first moment: healthy, and ready once everything has started.
    """

    async def serve() -> None:
        checks: dict[str, health.Check] = {health.STARTING: _still_starting}
        app = Starlette(routes=health.routes(checks))
        async with (
            http_server(app, settings.bind, settings.health_port, "OSTEON_HEALTH_PORT") as port,
            build(settings) as running,
        ):
            checks.update(running.checks)
            del checks[health.STARTING]
            log.info("started", **running.ports, health=port, pid=os.getpid())
            await asyncio.Event().wait()

    main(name, settings, serve)
    log.info("stopped")


def main(name: str, settings: ProcessSettings, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Set up logs and run `serve` on uvloop; an Osteon error ends the process with its message, not a traceback."""
    logging.setup(name, level=settings.log_level, style=settings.log_format)
    os.umask(UMASK)
    heap.return_freed_memory()
    heap.collect_after_imports()
    process_metrics.describe_process(name, settings)

    async def stoppable() -> None:
        stop_on_signals()
        with suppress(asyncio.CancelledError):
            async with process_metrics.measure_loop_lag():
                await serve()

    try:
        tracing_setup.start(name, settings.tracing_endpoint)
        uvloop.run(stoppable())
    except (OsteonError, BaseExceptionGroup) as failure:
        failures = _leaves(failure)
        if not all(isinstance(error, OsteonError) for error in failures):
            raise
        for error in failures:
            log.error("failed", error=str(error), kind=type(error).__name__)
        sys.exit(1)
    finally:
        tracing.shutdown()


def settings_or_exit(kind: type[A]) -> A:
    """Return a service's settings; when they are invalid, say why and end the process with status 2."""
    try:
        return load(kind)
    except BadSettings as error:
        exit_with([str(error)])


def allow_open_files() -> None:
    """Each association has a socket and some open packs; the usual soft limit of 1,024 files is soon used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def stop_on_signals() -> None:
    """Cancel the current task on SIGTERM and SIGINT: what it holds drains as it unwinds, unless a second one comes."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def until_available(part: str, start: Callable[[], Awaitable[None]]) -> None:
    """Call `start` until the part answers, with growing pauses, for as long as it takes."""

    def report(error: Exception) -> None:
        log.warning("waiting", part=part, reason=str(error))

    async for attempt in retry_forever(Unavailable, first=0.2, longest=5.0, failed=report):
        with attempt:
            await start()


@asynccontextmanager
async def http_server(
    app: ASGIApp,
    host: str,
    port: int,
    setting: str = "OSTEON_HTTP_PORT",
    *,
    grace: float = 5.0,
    trusted_proxies: Sequence[str] = (),
) -> AsyncIterator[int]:
    """Serve an ASGI app inside; yields the port. On leaving, requests in flight get `grace` seconds.

    `setting` is where the port comes from; an error names it. What `trusted_proxies` say of a request is believed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise OsteonError(f"cannot listen on {host}:{port} ({setting}): {error.strerror}") from None
    config = uvicorn.Config(
        ForwardedMiddleware(_EndingRequests(app), TrustedProxies(trusted_proxies)),
        http=HeaderLimitProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=max(1, int(grace)),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


class _EndingRequests:
    """Answers a request that outlives the grace period with 503; uvicorn cancels it, and would log a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            log.warning("request cancelled, it outlived the grace period", path=scope.get("path"), answered=begun)
            if not begun:
                await _STOPPING(scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `run` has its own."""

    def capture_signals(self) -> Any:
        return nullcontext()


async def _still_starting() -> None:
    raise Unavailable("still starting")


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
