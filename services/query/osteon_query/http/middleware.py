"""What happens around every request: correlation id, HEAD, trailing slashes, the log line and the metric."""

import re
import time
from typing import Final
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon import metrics
from osteon.logging import correlated, get_logger

log = get_logger(__name__)

CORRELATION_HEADER: Final = "x-correlation-id"
HEAD: Final = "osteon.head"
"""Key of the scope: the client asked for the headers only."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Surroundings:
    """Pure ASGI, so that streamed answers are neither buffered nor copied."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        inner = _prepared(scope)
        exchange = _Exchange(inner, send)
        with correlated(inner["state"]["correlation_id"]), metrics.HTTP_IN_PROGRESS.track_inprogress():
            try:
                await self._app(inner, receive, exchange.send)
            finally:
                exchange.finish(scope["method"])


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self._status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message)[CORRELATION_HEADER] = self._scope["state"]["correlation_id"]
        elif message["type"] == "http.response.body" and self._scope[HEAD]:
            message = {**message, "body": b""}
        await self._send(message)

    def finish(self, method: str) -> None:
        seconds = time.perf_counter() - self._started
        route = getattr(self._scope.get("route"), "path", "unmatched")
        metrics.HTTP_SECONDS.labels(method if method in _METHODS else "other", route, self._status).observe(seconds)
        log.info("request", method=method, path=self._scope["path"], status=self._status, ms=round(seconds * 1e3, 1))


def _prepared(scope: Scope) -> Scope:
    """Copy the scope: HEAD is routed as GET, a trailing slash does not count, and the request has an id."""
    given = Headers(scope=scope).get(CORRELATION_HEADER, "")
    path = scope["path"].rstrip("/") or "/"
    head = scope["method"] == "HEAD"
    return {
        **scope,
        "method": "GET" if head else scope["method"],
        "path": path,
        "state": {**scope.get("state", {}), "correlation_id": given if _ID.fullmatch(given) else uuid4().hex},
        HEAD: head,
    }
