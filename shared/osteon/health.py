"""`/healthz`, `/readyz` and `/metrics` of every service."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from osteon import metrics
from osteon.errors import OsteonError
from osteon.logging import get_logger

PATHS: Final = ("/healthz", "/readyz", "/metrics")
OK: Final = "ok"
STARTING: Final = "start"
"""Name of the check that fails until a service has started."""
log = get_logger(__name__)
_NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}

Check = Callable[[], Awaitable[None]]
"""Returns when the part works, raises an `OsteonError` that says what is wrong when not."""


def routes(checks: Mapping[str, Check]) -> list[Route]:
    """Return the three routes. A service is ready while every check passes; it is healthy while it answers."""

    last: dict[str, str] = {}

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n", headers=_NO_SNIFFING)

    async def readyz(_: Request) -> Response:
        names = list(checks)
        results = await asyncio.gather(*(_probe(checks[name]) for name in names))
        parts = dict(zip(names, results, strict=True))
        ready = all(result == OK for result in results)
        metrics.READY.clear()  # drop a part whose check was removed, as that of the start
        for part, result in parts.items():
            metrics.READY.labels(part).set(result == OK)
        _log_changes(last, parts)
        return JSONResponse({"ready": ready, "parts": parts}, status_code=200 if ready else 503, headers=_NO_SNIFFING)

    async def exposition(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST, headers=_NO_SNIFFING)

    return [Route(path, answer) for path, answer in zip(PATHS, (healthz, readyz, exposition), strict=True)]


def _log_changes(last: dict[str, str], parts: Mapping[str, str]) -> None:
    """Log what has begun or ceased to work since the last look; probes come every few seconds."""
    for part, result in parts.items():
        if part == STARTING or last.get(part, OK) == result:
            continue
        if result == OK:
            log.info("part is available again", part=part)
        elif last.get(part, OK) == OK:
            log.warning("part is unavailable", part=part, reason=result)
        last[part] = result


async def _probe(check: Check) -> str:
    try:
        async with asyncio.timeout(5):
            await check()
    except TimeoutError:
        return "no answer within 5 s"
    except OsteonError as error:
        return str(error)
    return OK
