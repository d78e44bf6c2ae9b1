"""Request bodies: limits, multipart (RFC 2046, RFC 2387) and files, all in constant memory."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from osteon_query.http.accept import split_header
from osteon_query.http.errors import BadBody, TooLarge, TooSlow, UnsupportedMediaType

_SMALL: Final = 4 << 20
"""Bytes of a JSON or text body at most."""
MAX_JSON_VALUES: Final = 250_000
MAX_JSON_DEPTH: Final = 64
_MAX_BOUNDARY: Final = 70


@dataclass(frozen=True, slots=True)
class BodyPace:
    """How slowly a body may arrive: seconds to wait for its next bytes, bytes per second without a limit in time."""

    idle_seconds: float = 60.0
    min_bytes_per_second: int = 1024


def content_type(request: Request) -> tuple[str, dict[str, str]]:
    """Return the body's media type and its parameters; raises `UnsupportedMediaType` for a compressed body."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:80]!r} is not supported: send the body uncompressed")
    return split_header(request.headers.get("content-type", "")[:1024])


async def limited_body(
    request: Request, limit: int, setting: str, pace: BodyPace = BodyPace()
) -> AsyncGenerator[bytes, None]:
    """Yield the body; raises `TooLarge` as soon as it is known to be longer than `limit` bytes.

    Raises `TooSlow` when the client is idle for longer than `pace` allows, with a second more for each
    `min_bytes_per_second` received: a slow client must not hold an upload slot for hours.
    """
    message = f"the body is longer than {limit} bytes ({setting})"
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(message)
    idle_seconds = pace.idle_seconds
    chunks = aiter(request.stream())
    try:
        while True:
            started = time.monotonic()
            async with asyncio.timeout(idle_seconds):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            limit -= len(chunk)
            if limit < 0:
                raise TooLarge(message)
            idle_seconds += started - time.monotonic() + len(chunk) / pace.min_bytes_per_second
            idle_seconds = min(pace.idle_seconds, idle_seconds)
            yield chunk
    except TimeoutError:
        raise TooSlow(f"the body arrives at less than {pace.min_bytes_per_second} bytes per second") from None
    except ClientDisconnect:
        raise BadBody("the client disconnected before the body was complete") from None


async def small_body(request: Request) -> bytes:
    """Return a body of at most 4 MiB."""
    return await whole_body(request, _SMALL, "limit of JSON and text bodies")


async def whole_body(request: Request, limit: int, setting: str) -> bytes:
    """Return a body that fits into memory; raises as `limited_body` does."""
    async with aclosing(limited_body(request, limit, setting)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def json_body(request: Request) -> object:
    """Return a body that is JSON; raises `BadBody`."""
    return parse_json(await small_body(request))


async def json_object(request: Request) -> dict[str, object]:
    """Return a body that is a JSON object; raises `BadBody`."""
    return _require_object(await json_body(request))


async def optional_object(request: Request) -> dict[str, object]:
    """Return a body that is a JSON object, or an empty one when there is no body; raises `BadBody`."""
    body = (await small_body(request)).strip()
    return _require_object(parse_json(body)) if body else {}


def parse_json(body: bytes) -> object:
    """Parse a JSON body within limits of values and depth; raises `BadBody` and `TooLarge`."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_JSON_VALUES:
        raise TooLarge(f"the JSON body has more than {MAX_JSON_VALUES} values")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error}") from None
    level = [parsed]
    for _ in range(MAX_JSON_DEPTH + 1):
        level = [each for one in level if isinstance(one, dict | list) for each in _children(one)]
        if not level:
            return parsed
    raise BadBody(f"the JSON body is nested more than {MAX_JSON_DEPTH} deep")


def _children(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _require_object(body: object) -> dict[str, object]:
    if not isinstance(body, dict):
        raise BadBody("the body is not a JSON object")
    return body


def boundary_of(parameters: Mapping[str, str]) -> bytes:
    """Return the boundary parameter of a multipart Content-Type; raises `BadBody`."""
    boundary = parameters.get("boundary", "")
    if not boundary or len(boundary) > _MAX_BOUNDARY or not boundary.isascii():
        raise BadBody(f"Content-Type needs a boundary of 1 to {_MAX_BOUNDARY} ASCII characters, got {boundary[:80]!r}")
    return boundary.encode("ascii")
