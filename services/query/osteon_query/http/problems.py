"""Which HTTP response an error gets: the status from the type of the error, the shape from the API.

Below `/dicom-web` errors are problem details (RFC 9457), everywhere else they have the shape of Orthanc's REST API.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match

from osteon.archive.errors import ResourceNotFound
from osteon.commitment.port import CommitmentNotFound
from osteon.errors import Invalid, NotFound, OsteonError, Unavailable
from osteon.jobs.port import JobNotFound, WrongState
from osteon.logging import get_logger
from osteon.modification.errors import ModificationNotSupported
from osteon.multipart import BadMultipart, UnsupportedPartEncoding
from osteon.remotes.port import RemoteNotFound
from osteon.remotes.queries import QueryNotFound
from osteon.user_data.port import BadUserData, SystemDataReadOnly, UserDataLimit, WrongRevision
from osteon_query.http import errors
from osteon_query.http.middleware import NO_SNIFFING

log = get_logger(__name__)

DICOMWEB: Final = "/dicom-web"
RETRY_AFTER: Final = "5"
"""Seconds after which a client may try again when a part is down."""
_RETRIED: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A status and the error code that Orthanc's clients know for it."""

    status: int
    orthanc: int
    name: str


_ANSWERS: Final[dict[type[Exception], ErrorResponse]] = {
    Unavailable: ErrorResponse(503, 36, "The database is currently not available (probably a transient situation)"),
    NotFound: ErrorResponse(404, 17, "Unknown resource"),
    Invalid: ErrorResponse(400, 8, "Bad request"),
    RemoteNotFound: ErrorResponse(404, 7, "Accessing an inexistent item"),
    QueryNotFound: ErrorResponse(404, 7, "Accessing an inexistent item"),
    errors.RemoteFailed: ErrorResponse(500, 9, "Error in the network protocol"),
    errors.NotSupported: ErrorResponse(501, 2, "Not implemented yet"),
    ModificationNotSupported: ErrorResponse(501, 2, "Not implemented yet"),
    CommitmentNotFound: ErrorResponse(404, 7, "Accessing an inexistent item"),
    JobNotFound: ErrorResponse(404, 7, "Accessing an inexistent item"),
    WrongState: ErrorResponse(400, 6, "Bad sequence of calls"),
    errors.JobFailed: ErrorResponse(500, 9, "Error in the network protocol"),
    BadUserData: ErrorResponse(400, 3, "Parameter out of range"),
    errors.Forbidden: ErrorResponse(403, 45, "Access is forbidden"),
    SystemDataReadOnly: ErrorResponse(403, 26, "Cannot modify a read-only data structure"),
    UserDataLimit: ErrorResponse(413, 8, "Bad request"),
    WrongRevision: ErrorResponse(
        409, 43, "A bad revision number was provided, which might indicate conflict between multiple writers"
    ),
    errors.UnknownItem: ErrorResponse(404, 7, "Accessing an inexistent item"),
    errors.BadBody: ErrorResponse(400, 15, "Bad file format"),
    BadMultipart: ErrorResponse(400, 15, "Bad file format"),
    UnsupportedPartEncoding: ErrorResponse(415, 8, "Bad request"),
    errors.NotAcceptable: ErrorResponse(
        406, 34, "Cannot send a response which is acceptable according to the Accept header"
    ),
    errors.UnsupportedMediaType: ErrorResponse(415, 8, "Bad request"),
    errors.TooLarge: ErrorResponse(413, 4, "The server hosting Orthanc is running out of memory"),
    errors.TooBroad: ErrorResponse(413, 8, "Bad request"),
    errors.ClientUploadsExceeded: ErrorResponse(429, 8, "Bad request"),
    errors.TooSlow: ErrorResponse(408, 11, "Timeout"),
    errors.NotRenderable: ErrorResponse(415, 33, "Unsupported media type"),
    errors.RenderFailed: ErrorResponse(500, 2000, "Error while decoding an image"),
    errors.RenderTimeout: ErrorResponse(504, 11, "Timeout"),
    errors.RangeNotSatisfiable: ErrorResponse(416, 41, "Incorrect range request"),
}
_INTERNAL: Final = ErrorResponse(500, -1, "Internal error")
_BY_STATUS: Final = {
    400: _ANSWERS[Invalid],
    404: ErrorResponse(404, 17, "Unknown resource"),
    405: ErrorResponse(405, 8, "Method not allowed"),
}
_EXPECTED: Final = {
    "missing": "is missing",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "list_type": "expected an array",
    "dict_type": "expected an object",
    "json_invalid": "is not JSON",
}
"""What pydantic's types of errors mean for a client."""
_METHODS: Final = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
_REMOTE: Final = (errors.RemoteFailed, errors.JobFailed, errors.NotSupported)
"""No fault of the archive: a modality or a peer failed, or the client requested what is not supported."""


def response_of(error: Exception) -> ErrorResponse:
    """Return the response for the nearest class of the error that has one; 500 for an unexpected error."""
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return _BY_STATUS.get(error.status_code, ErrorResponse(error.status_code, 8, phrase))
    if isinstance(error, RequestValidationError):
        return _BY_STATUS[400]
    return next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), _INTERNAL)


def install(app: FastAPI, *, moved_to: Callable[[Request], Awaitable[str | None]]) -> None:
    """Send every error through this module. `moved_to` is asked where else a resource is that is not found."""

    async def handle_not_found(request: Request, error: Exception) -> Response:
        url = await moved_to(request)
        return await _handle(request, error) if url is None else RedirectResponse(url, 307)

    for kind in (OsteonError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _handle)
    app.add_exception_handler(ResourceNotFound, handle_not_found)


async def _handle(request: Request, error: Exception) -> Response:
    answer = response_of(error)
    if isinstance(error, errors.NotRenderable) and is_dicomweb(request):
        # What can be made in no media type cannot be sent in an acceptable one (PS3.18 8.7.4, 10.4.3).
        answer = _ANSWERS[errors.NotAcceptable]
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        foreseen = isinstance(error, OsteonError)
        severity = log.warning if isinstance(error, _REMOTE) else log.error
        severity("request failed", path=request.url.path, error=str(error), exc_info=None if foreseen else error)
    if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return _method_not_allowed(request, answer)
    response = render(request, answer, _detail(request, error))
    if isinstance(error, errors.RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.total}"  # RFC 9110 15.5.17
    return response


def _detail(request: Request, error: Exception) -> str:
    if isinstance(error, HTTPException):
        found = error.status_code != HTTPStatus.NOT_FOUND
        return str(error.detail) if found else f"there is nothing at {request.url.path[:200]}"
    if isinstance(error, RequestValidationError):
        return "; ".join(_field_problem(each) for each in error.errors())
    return str(error) if isinstance(error, OsteonError) else "internal error; see the log"


def _field_problem(problem: Mapping[str, Any]) -> str:
    """Name the field, and what was expected of it, without pydantic's words."""
    name = ".".join(str(part) for part in problem["loc"][1:]) or "the body"
    return f"{name[:80]}: {_EXPECTED.get(problem['type'], 'is invalid')}"


def _method_not_allowed(request: Request, answer: ErrorResponse) -> Response:
    def is_possible(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    allowed = ", ".join(filter(is_possible, _METHODS))
    detail = f"{request.method} is not possible here; expected {allowed}"
    if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
        detail = "pages of other origins may not use this archive; OSTEON_CORS_ORIGINS permits it"
    response = render(request, answer, detail)
    response.headers["Allow"] = allowed
    return response


def render(request: Request, answer: ErrorResponse, detail: str) -> Response:
    """Write an error in the shape of the API that was requested."""
    phrase = HTTPStatus(answer.status).phrase
    # An unexpected error is answered outside of the middleware.
    headers = dict(NO_SNIFFING)
    if answer.status in _RETRIED:
        headers["Retry-After"] = RETRY_AFTER
    if is_dicomweb(request):
        problem: dict[str, Any] = {"type": "about:blank", "title": phrase, "status": answer.status, "detail": detail}
        if correlation_id := getattr(request.state, "correlation_id", ""):
            problem["correlation_id"] = correlation_id
        return Response(_dump(problem), answer.status, headers, "application/problem+json")
    body = {
        "Method": request.method,
        "Uri": request.url.path,
        "HttpError": phrase,
        "HttpStatus": answer.status,
        "OrthancError": answer.name,
        "OrthancStatus": answer.orthanc,
        "Message": answer.name,
        "Details": detail,
    }
    return Response(_dump(body), answer.status, headers, "application/json")


def is_dicomweb(request: Request) -> bool:
    """Whether the request came to DICOMweb."""
    path = request.url.path
    return path == DICOMWEB or path.startswith(DICOMWEB + "/")


def _dump(body: dict[str, Any]) -> bytes:
    # A detail may quote what the client sent, lone surrogates included.
    clean = {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in body.items()}
    return orjson.dumps(clean)
