"""Around every request: correlation id, HEAD, trailing slashes, the log line and the metric."""

import re
import time
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from secrets import token_hex
from typing import Final

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from osteon import health, metrics, tracing
from osteon.logging import correlated, get_logger

log = get_logger(__name__)

CORRELATION_HEADER: Final = "x-correlation-id"
HEAD: Final = "osteon.head"
"""Key of the scope: the client requested the headers only."""
NO_SNIFFING: Final = {"x-content-type-options": "nosniff"}
"""On every response: what a modality sent must not become a page in a browser (Fetch standard, 3.5)."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_SLASHES: Final = re.compile("/{2,}")
_OVERRIDE: Final = "x-http-method-override"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class RequestContextMiddleware:
    """Pure ASGI, so that streamed responses are neither buffered nor copied."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes (lifespan) pass unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        inner = _prepare_scope(scope)
        exchange = _Exchange(inner, send)
        with correlated(inner["state"]["correlation_id"]), _span(inner) as span:
            try:
                with metrics.HTTP_IN_PROGRESS.track_inprogress():
                    await self._app(inner, receive, exchange.send)
            finally:
                exchange.finish(scope["method"], span)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self._status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            state, headers = self._scope["state"], MutableHeaders(scope=message)
            headers[CORRELATION_HEADER] = state["correlation_id"]
            headers.update(NO_SNIFFING)
            for warning in state["warnings"]:
                headers.append("Warning", warning)
        elif message["type"] == "http.response.body" and self._scope[HEAD]:
            message = {**message, "body": b""}
        await self._send(message)

    def finish(self, method: str, span: tracing.Span) -> None:
        seconds = time.perf_counter() - self._started
        route = getattr(self._scope.get("route"), "path", "unmatched")
        metrics.HTTP_SECONDS.labels(method if method in _METHODS else "other", route, self._status).observe(seconds)
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": self._status}
        )
        if self._status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.record_error(f"HTTP {self._status}")
        log.info(
            "request finished", method=method, path=self._scope["path"], status=self._status, ms=round(seconds * 1e3, 1)
        )


def _method(scope: Scope, headers: Headers) -> str:
    """Return the method that is meant: clients that know only GET and POST name another one, as in Orthanc.

    A link in a page of another site cannot: a browser follows it without asking.
    """
    method: str = scope["method"]
    if method not in ("GET", "POST") or headers.get("sec-fetch-site") == "cross-site":
        return method
    meant = headers.get(_OVERRIDE, "")
    if not meant and b"_method=" in scope["query_string"]:
        meant = QueryParams(scope["query_string"]).get("_method", "")
    return meant.upper() if meant.upper() in ("PUT", "DELETE") else method


def _prepare_scope(scope: Scope) -> Scope:
    """Copy the scope: HEAD is routed as GET, slashes are single, one at the end does not count; it has an id."""
    headers = Headers(scope=scope)
    # Without an id of its own a request has that of the trace that the client is in.
    trace = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    given = headers.get(CORRELATION_HEADER, "") or (trace[1] if trace else "")
    path = _SLASHES.sub("/", scope["path"]).rstrip("/") or "/"
    method = _method(scope, headers)
    head = method == "HEAD"
    correlation_id = given if _ID.fullmatch(given) else token_hex(16)
    return {
        **scope,
        "method": "GET" if head else method,
        "path": path,
        "state": {**scope.get("state", {}), "correlation_id": correlation_id, "warnings": []},
        HEAD: head,
    }


def _span(scope: Scope) -> AbstractContextManager[tracing.Span]:
    if scope["path"] in health.PATHS:
        return nullcontext(tracing.NOOP_SPAN)
    return tracing.span(
        scope["method"],
        kind="server",
        parent=Headers(scope=scope).get("traceparent", ""),
        correlation_id=scope["state"]["correlation_id"],
    )
