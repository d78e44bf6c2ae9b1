"""Cross-origin requests of web viewers (Fetch standard, 3.2 HTTP extensions), for the origins of a setting."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from typing_extensions import override

from osteon_query.http.middleware import CORRELATION_HEADER

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_EXPOSED: Final = (
    "Accept-Ranges", "Content-Disposition", "Content-Encoding", "Content-Length", "Content-Location", "Content-Range",
    "ETag", "Last-Modified", "Location", "Retry-After", "Warning", CORRELATION_HEADER,
)  # fmt: skip
"""Headers that scripts may read besides those that they always may."""
_MAX_AGE: Final = 600
"""Seconds for which browsers remember what they may do."""


class _ExplainingCors(CORSMiddleware):
    """Names the setting when it refuses."""

    @override
    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        text = f"{bytes(response.body).decode()}; OSTEON_CORS_ORIGINS lists the origins that are permitted"
        return PlainTextResponse(text, response.status_code)


def install(app: FastAPI, origins: Sequence[str]) -> None:
    """Answer preflights and mark what the pages of `origins` may read; without any, nothing is added.

    Cookies are not allowed: the API has none. A header `Authorization` that a script sets is.
    """
    if origins:
        app.add_middleware(
            _ExplainingCors,
            allow_origins=list(origins),
            allow_methods=_METHODS,
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            max_age=_MAX_AGE,
        )
